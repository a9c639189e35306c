//! Of the commands that select nodes.

pub(crate) const QUERY: &str = "\
A CONDITION compares a field with a value: topic = \"rust\", also !=, <, <=, > and >=; topic in \
(\"rust\", \"c\"); title contains \"dog\"; title starts with \"A\"; topic exists. Text is in double \
or single quotes; a date or time such as 2026-01-01 is not. Further conditions are id = \"dog\", \
links to \"dog\", linked from \"dog\" by \"chases\", and alive at 2026-01-01. They are joined by \
and, or, not and parentheses.

A field is an attribute, such as topic; an attribute within an attribute, such as source.language; \
or a field of the node's own: kind, created, updated, accessed, access_count, expires, strength or \
confidence. An attribute that has one of these names is written in double quotes: \"created\".

A comparison of a field that a node does not have, or that has another type, does not hold; != is \
the opposite of =, and so holds for both. A list meets a comparison if one of its elements does; it \
contains an element that is equal. An id can only be compared with = and in, and content not at all: \
an unknown name is an attribute. A time has a zone, or is a date alone, which begins in UTC; @ and a \
number are microseconds since 1970. A condition has up to 1,024 terms. Without --order nodes come as they are found. With it, those that do not have all its fields come \
last. An index on the fields makes a query fast; --explain says whether one is used. With --json, \
each line is a node, as of scan.

Examples:
  ingrain query --store memory --where 'topic = \"rust\" and created >= 2026-01-01'
  ingrain query --store memory --kind task --order priority:desc --order created --limit 5
  ingrain query --store memory --where 'linked from \"dog\" by \"chases\"' --explain";

pub(crate) const COUNT: &str = "\
Conditions are those of query; see \"ingrain query --help\". All nodes and those of a kind are \
counted without reading them.

Examples:
  ingrain count --store memory
  ingrain count --store memory note
  ingrain count --store memory --where 'topic = \"rust\"'";

pub(crate) const KINDS: &str = "\
With --json, each line is a kind.

Examples:
  ingrain kinds --store memory
  ingrain kinds --store memory --all --json";
