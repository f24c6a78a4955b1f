"""Sessions are worked through in virtual time, as agents are: sleeping takes none."""

import async_solipsism


def pytest_asyncio_loop_factories(config, item):
    return {"virtual": async_solipsism.EventLoop}
