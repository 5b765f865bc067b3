"""Answers 200 and counts, as a service of one's own would: aiohttp on uvloop, with prometheus_client."""

import uvloop
from aiohttp import web
from prometheus_client import Counter, Histogram, start_http_server

LABELS = ["media_type", "idc", "disconnect_reason"]
BUCKETS = [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600]
calls = Counter("calls", "Calls that ended", LABELS)
durations = Histogram("call_duration_seconds", "Durations of calls", LABELS, buckets=BUCKETS)


async def call_event(request):
    query = request.query
    labels = query["type"], query["rc_idc"], query["disconnect_reason"]
    calls.labels(*labels).inc()
    durations.labels(*labels).observe(float(query["duration"]))
    return web.Response()


app = web.Application()
app.router.add_get("/call_event", call_event)
start_http_server(20212, "127.0.0.1")
web.run_app(app, host="127.0.0.1", port=20211, access_log=None, print=None, loop=uvloop.new_event_loop())
