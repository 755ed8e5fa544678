"""Everything the demonstration asks, as Datalog. The handlers, the report and the terminal have no other way to know anything.

Law: `:with ?flight` or its like stands wherever two entities could answer alike; without it a set would count them once.
"""

from __future__ import annotations

from typing import Final

# -- what handlers ask when they load

NAMES: Final = "[:find [?name ...] :in $ ?identity :where [_ ?identity ?name]]"

# A fact knows its transaction: which of them brought a file's lines?
BROUGHT: Final = "[:find [?tx ...] :in $ ?identity :where [_ ?identity _ ?tx]]"
BROUGHT_OF_MONTH: Final = "[:find [?tx ...] :in $ ?month :where [_ :flight/month ?month ?tx]]"

# -- what handlers ask of the flights

BY_CARRIER: Final = """
[:find ?airline ?month (count ?flight) (avg ?delay)
 :where [?flight :flight/dep-delay ?delay]
        [?flight :flight/carrier ?airline]
        [?flight :flight/month ?month]]"""

LATE_BY_CARRIER: Final = """
[:find ?airline ?month (count ?flight)
 :where [?flight :flight/dep-delay ?delay]
        [(> ?delay 15)]
        [?flight :flight/carrier ?airline]
        [?flight :flight/month ?month]]"""

BY_ROUTE: Final = """
[:find ?origin ?dest (count ?flight) (avg ?delay)
 :where [?flight :flight/dep-delay ?delay]
        [?flight :flight/origin ?origin]
        [?flight :flight/dest ?dest]]"""

LATE_BY_ROUTE: Final = """
[:find ?origin ?dest (count ?flight)
 :where [?flight :flight/dep-delay ?delay]
        [(> ?delay 15)]
        [?flight :flight/origin ?origin]
        [?flight :flight/dest ?dest]]"""

# The attribute is an input: one question serves wind, visibility and rain.
BY_WEATHER: Final = """
[:find ?measure (count ?flight) (sum ?delay)
 :in $ ?condition
 :where [?weather ?condition ?measure]
        [?weather :weather/origin ?origin]
        [?weather :weather/time-hour ?hour]
        [?flight :flight/time-hour ?hour]
        [?flight :flight/origin ?origin]
        [?flight :flight/dep-delay ?delay]]"""

LATE_BY_WEATHER: Final = """
[:find ?measure (count ?flight)
 :in $ ?condition
 :where [?weather ?condition ?measure]
        [?weather :weather/origin ?origin]
        [?weather :weather/time-hour ?hour]
        [?flight :flight/time-hour ?hour]
        [?flight :flight/origin ?origin]
        [?flight :flight/dep-delay ?delay]
        [(> ?delay 15)]]"""

# -- what the report asks

CARRIER_DELAYS: Final = """
[:find ?carrier ?name ?month ?flights ?minutes
 :where [?d :delay/kind :delay.kind/carrier]
        [?d :delay/carrier ?airline]
        [?airline :airline/carrier ?carrier]
        [?airline :airline/name ?name]
        [?d :delay/month ?month]
        [?d :delay/flights ?flights]
        [?d :delay/minutes ?minutes]]"""

CARRIER_LATE: Final = (
    "[:find (sum ?late) . :with ?d :where [?d :delay/kind :delay.kind/carrier] [?d :delay/late ?late]]"
)

ROUTE_DELAYS: Final = """
[:find ?from ?to ?flights ?minutes
 :where [?d :delay/kind :delay.kind/route]
        [?d :delay/origin ?origin]
        [?origin :airport/faa ?from]
        [?d :delay/dest ?dest]
        [?dest :airport/faa ?to]
        [?d :delay/flights ?flights]
        [?d :delay/minutes ?minutes]]"""

PLACES: Final = """
[:find ?faa ?name ?lat ?lon
 :where [?airport :airport/faa ?faa]
        [?airport :airport/name ?name]
        [?airport :airport/lat ?lat]
        [?airport :airport/lon ?lon]]"""

WEATHER_DELAYS: Final = """
[:find ?kind ?band ?label ?flights ?minutes
 :where [?d :delay/band ?band]
        [?d :delay/kind ?kind]
        [?d :delay/label ?label]
        [?d :delay/flights ?flights]
        [?d :delay/minutes ?minutes]]"""

# Every fact knows its transaction, and every transaction its time: asked once for each attribute.
FACTS_OF: Final = "[:find ?tx (count ?e) :in $ ?attribute :where [?e ?attribute _ ?tx]]"
TRANSACTIONS: Final = "[:find ?tx ?at :where [?tx :db/txInstant ?at]]"

DEPENDENCIES: Final = """
[:find ?waits ?for
 :where [?child :job/dep ?parent]
        [?child :job/type ?waits]
        [?parent :job/type ?for]]"""

# Asked of a history, this is who took which job when.
CLAIMS: Final = """
[:find ?type ?worker ?at
 :where [?job :job/worker ?worker ?tx true]
        [?job :job/type ?type]
        [?tx :db/txInstant ?at]]"""

# -- history at work

# Asked of a history, this is every status that every job ever took, and when.
STATUSES: Final = """
[:find ?type ?status ?at
 :where [?job :job/status ?status ?tx true]
        [?job :job/type ?type]
        [?tx :db/txInstant ?at]]"""

# Asked of `db.as_of(some moment)`, this is how the jobs stood at that moment.
STANDING: Final = "[:find ?type ?status :where [?job :job/type ?type] [?job :job/status ?status]]"

# Asked of a history, this is the whole life of one job: whatever was asserted or retracted of it, when.
LIFE: Final = """
[:find ?at ?attribute ?value ?added
 :in $ ?type
 :where [?job :job/type ?type]
        [?job ?a ?value ?tx ?added]
        [?a :db/ident ?attribute]
        [?tx :db/txInstant ?at]]"""

# Where a fact comes from: loads say on their own transactions which job made them.
PROVENANCE: Final = """
[:find ?key ?type ?worker ?at
 :where [?flight :flight/arr-delay ?delay]
        [(> ?delay 1200)]
        [?flight :flight/key ?key ?tx]
        [?tx :load/job ?job]
        [?job :job/type ?type]
        [?job :job/worker ?worker]
        [?tx :db/txInstant ?at]]"""

# -- counts

COUNT: Final = "[:find (count ?e) . :in $ ?attribute :where [?e ?attribute _]]"
