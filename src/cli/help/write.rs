//! Of the commands that write.

pub(crate) const PUT: &str = "\
A node that is there is replaced: its kind, content, attributes, scores, keys and vectors become \
those of the command, and it keeps its edges, its times, its access count and, without --expires, \
its expiry. To change part of a node, see \"ingrain patch --help\".

--set NAME=TEXT is always text, also with digits only. --set NAME:=JSON is a value of its own type: \
--set count:=3, --set done:=true, --set 'tags:=[\"a\",\"b\"]'. A name ends at the first =, and \
one that begins with - is given as --set=-NAME=TEXT, an id as -- -ID. A TIME is a date, a date and \
time of RFC 3339, or @ and microseconds since 1970. A --vector that begins with [ is an array, and \
the name of a file otherwise.

put - reads JSON lines of nodes, as \"ingrain import --nodes\" does. All lines are read and checked \
before the first is written. They are written in batches of 1,000 lines, each of which is atomic: if \
the store refuses a line, the lines before it are there, and the error says how many. A line \
changes a node that is there, and leaves vectors, and keys that it does not have, as they are. An \
index that a line has keys for is created if it is not there.

Examples:
  ingrain put --store memory dog --kind animal --content 'It barks.' --set legs:=4
  ingrain put --store memory job --if-absent --expires 2026-12-31
  ingrain put --store memory report --content-file report.txt --vector text=report.npy
  producer | ingrain put --store memory -";

pub(crate) const PATCH: &str = "\
All changes are one commit. What is not named stays, also the expiry. Without another change, \
--touch and --expires leave the version as it is. Attributes are set as by \"ingrain put\".

Examples:
  ingrain patch --store memory dog --set legs:=3 --unset owner --increment walks=1
  ingrain patch --store memory dog --touch
  ingrain patch --store memory job --expires never --if-version 12";

pub(crate) const DELETE: &str = "\
All ids are checked before the first node is deleted. Nodes are deleted in batches of 1,000, each \
of which is atomic, so that an interrupted command may have deleted some of them.

Examples:
  ingrain delete --store memory dog cat
  ingrain delete --store memory job --if-version 12
  ingrain query --store memory --where 'topic = \"old\"' --limit 0 --json | jq -r .id |
    ingrain delete --store memory -";

pub(crate) const LINK: &str = "\
An edge with the same source, type, target and discriminator is replaced; with another \
discriminator there are parallel edges. --discriminator new chooses one that no parallel edge has, \
and the command prints it. With --create, the edge and the nodes are one commit.

Examples:
  ingrain link --store memory dog chases cat --weight 0.5
  ingrain link --store memory dog chases mouse --create animal
  ingrain link --store memory dog chases cat --set when=today --discriminator new";

pub(crate) const UNLINK: &str = "\
Without --discriminator, the edge with the discriminator 0 is deleted: the one that link writes \
unless told otherwise. Edges that were imported with attributes have other discriminators, which \
the error names.

Examples:
  ingrain unlink --store memory dog chases cat
  ingrain unlink --store memory dog chases cat --all";

pub(crate) const PRUNE: &str = "\
Nodes are deleted in batches of 1,000, each of which is atomic. A command that was interrupted can \
be run again.

Examples:
  ingrain prune --store memory --dry-run
  ingrain prune --store memory --before 2026-01-01";
