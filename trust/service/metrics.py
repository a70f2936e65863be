"""Prometheus metrics: counts, sizes and times. No label ever names a resident, a key or a question."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

registry = CollectorRegistry()
published_size = Gauge("musubi_published_size", "Entries under the last published checkpoint", registry=registry)
publish_failures = Counter("musubi_publish_failures", "Publications that had to be tried again", registry=registry)
grants = Counter("musubi_grants", "Consents taken in", registry=registry)
revocations = Counter("musubi_revocations", "Consents ended", registry=registry)
attested_stops = Counter(
    "musubi_attested_stops", "Consents that an identity provider ended", ["provider"], registry=registry
)
erasures = Counter("musubi_erasures", "Records erased", registry=registry)
damaged_records = Counter("musubi_damaged_records", "Stored records that did not open", registry=registry)
admitted = Counter("musubi_admitted", "Questions let in", registry=registry)
released = Counter("musubi_released", "Questions answered", registry=registry)
refunded = Counter("musubi_refunded", "Questions refunded", registry=registry)
lost = Counter("musubi_lost", "Questions given up: nobody could finish them any more", registry=registry)
refused = Counter("musubi_refused", "Questions not let in", ["rule"], registry=registry)
problems = Counter("musubi_problems", "Requests answered with a problem", ["code"], registry=registry)
turned_away = Counter(
    "musubi_turned_away", "Requests that found no place, or whose body did not fit", ["lane", "why"], registry=registry
)
read_only = Gauge("musubi_read_only", "1 while the time is not sure and nothing is written", registry=registry)
clock_off = Gauge("musubi_clock_off_seconds", "Our clock ahead of the witnesses' word", registry=registry)
stop_seconds = Histogram(
    "musubi_stop_seconds",
    "From the end of a consent in the ledger to the last holder's word that it has caught up with it",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600, 86_400),
    registry=registry,
)
