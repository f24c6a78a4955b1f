"""Which agents of a stage are whose, where several shards share them."""


def numbers_of(agents: int, shard: int, shards: int) -> tuple[int, ...]:
    """The agents, of 0 to `agents` - 1, that run in shard `shard` of `shards`: agent i belongs to shard i mod `shards`.

    Agents start one after the other by number, so that each shard's start is as spread out as the whole.
    """
    return tuple(range(shard, agents, shards))
