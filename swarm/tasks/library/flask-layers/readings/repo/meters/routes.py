"""The API."""

from meters.csvfile import BadLine
from meters.service import MeterService
from meters.store import ReadingStore
from meters.web import App, Request, Response


def make_app() -> App:
    app = App()
    service = MeterService(ReadingStore())

    @app.route("/meters/<meter>", "POST")
    def take_in(request: Request, meter: str) -> Response:
        text = request.json()
        if not isinstance(text, str):
            return Response(400, {"error": "expected a text", "line": 1})
        try:
            return Response(201, {"stored": service.take_in(meter, text)})
        except BadLine as error:
            return Response(400, {"error": str(error), "line": error.line})

    @app.route("/meters/<meter>/months")
    def months(request: Request, meter: str) -> Response:
        readings = service.readings(meter)
        kwh = {}
        for before, after in zip(readings, readings[1:]):
            month = f"{after.day:%Y-%m}"
            kwh[month] = kwh.get(month, 0.0) + after.kwh - before.kwh
        if request.query.get("format") == "text":
            lines = [f"{month}  {round(value, 1):10.1f}" for month, value in kwh.items()]
            lines.append(f"total    {round(sum(kwh.values()), 1):10.1f}")
            return Response(200, "\n".join(lines))
        data = [{"month": month, "kwh": round(value, 1)} for month, value in kwh.items()]
        return Response(200, {"months": data, "total": round(sum(kwh.values()), 1)})

    return app
