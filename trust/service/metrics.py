"""Prometheus metrics: counts, sizes and times. No label ever names a resident, a key or a question."""

from prometheus_client import CollectorRegistry, Counter, Gauge

registry = CollectorRegistry()
published_size = Gauge("musubi_published_size", "Entries under the last published checkpoint", registry=registry)
publish_failures = Counter("musubi_publish_failures", "Publications that had to be tried again", registry=registry)
grants = Counter("musubi_grants", "Consents taken in", registry=registry)
revocations = Counter("musubi_revocations", "Consents ended", registry=registry)
erasures = Counter("musubi_erasures", "Records erased", registry=registry)
admitted = Counter("musubi_admitted", "Questions let in", registry=registry)
released = Counter("musubi_released", "Questions answered", registry=registry)
refunded = Counter("musubi_refunded", "Questions refunded", registry=registry)
refused = Counter("musubi_refused", "Questions not let in", ["rule"], registry=registry)
problems = Counter("musubi_problems", "Requests answered with a problem", ["code"], registry=registry)
