"""The agents are tested in virtual time: sleeping takes none, and a loop that would sleep for ever fails."""

import async_solipsism


def pytest_asyncio_loop_factories(config, item):
    return {"virtual": async_solipsism.EventLoop}
