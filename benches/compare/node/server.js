// Answers 200 and counts, as a service of one's own would: Node's http, with prom-client.
const http = require('http')
const { Counter, Histogram, register } = require('prom-client')

const labelNames = ['media_type', 'idc', 'disconnect_reason']
const buckets = [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600]
const calls = new Counter({ name: 'calls_total', help: 'Calls that ended', labelNames })
const durations = new Histogram({ name: 'call_duration_seconds', help: 'Durations of calls', labelNames, buckets })

const path = '/call_event?'
http.createServer((request, response) => {
  if (!request.url.startsWith(path)) {
    response.writeHead(404).end()
    return
  }
  const query = new URLSearchParams(request.url.slice(path.length))
  const labels = [query.get('type'), query.get('rc_idc'), query.get('disconnect_reason')]
  calls.labels(...labels).inc()
  durations.labels(...labels).observe(Number(query.get('duration')))
  response.end()
}).listen(20211, '127.0.0.1')

http.createServer(async (_, response) => response.end(await register.metrics())).listen(20212, '127.0.0.1')
