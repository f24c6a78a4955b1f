"""A page such as dcgm-exporter's, of two GPUs of which the second is somebody else's; energy grows with time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

POWER_W = 300.0


def page(seconds: float) -> str:
    labels = 'UUID="GPU-{0}",device="nvidia{0}",modelName="NVIDIA RTX 3090",Hostname="box"'
    values = {
        "DCGM_FI_DEV_SM_CLOCK": (1695, 210),
        "DCGM_FI_DEV_MEM_CLOCK": (9501, 405),
        "DCGM_FI_DEV_GPU_TEMP": (71, 33),
        "DCGM_FI_DEV_POWER_USAGE": (POWER_W, 25),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": (1e6 + POWER_W * 1000 * seconds, 5e6),
        "DCGM_FI_DEV_GPU_UTIL": (97, 0),
        "DCGM_FI_DEV_FB_USED": (22000, 3),
        "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": (4, 1),
    }
    lines = []
    for name, of_gpus in values.items():
        lines += [f"# HELP {name} ...", f"# TYPE {name} gauge"]
        lines += [f'{name}{{gpu="{gpu}",{labels.format(gpu)}}} {value}' for gpu, value in enumerate(of_gpus)]
    return "\n".join(lines) + "\n"


@contextmanager
def serving() -> Iterator[str]:
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(time.monotonic() - began).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
