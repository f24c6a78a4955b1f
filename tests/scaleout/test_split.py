from hypothesis import given
from hypothesis import strategies as st

from swarm.scaleout.shared_pool import numbers_of


@given(agents=st.integers(0, 300), shards=st.integers(1, 40))
def test_every_agent_belongs_to_one_shard_and_no_shard_has_two_more_than_another(agents: int, shards: int) -> None:
    parts = [numbers_of(agents, shard, shards) for shard in range(shards)]

    assert sorted(number for part in parts for number in part) == list(range(agents))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_agents_are_dealt_like_cards() -> None:
    assert numbers_of(7, 0, 3) == (0, 3, 6)
    assert numbers_of(7, 2, 3) == (2, 5)
    assert numbers_of(2, 2, 3) == ()
