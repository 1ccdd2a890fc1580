"""Messages between nodes: one bounded stream to each peer, and full means drop.

Rules of this room:

- Raft asks little of a network, and so no more is promised: a message arrives once, or not at all. What is lost is not
  sent again from here; the core does that, when it has learnt what is still worth sending.
- Sending never waits. A slow, dead or refusing peer costs its own queue, which is bounded, and nobody else anything.
- Appends to one peer arrive in the order in which they were sent. Small messages overtake them.
- No batch is read before its cluster, receiver and sender were checked, and no entry is passed on without its checksum.

`interface` is all that the node knows of this; `outgoing`, `link` and `queue` send; `incoming` receives; `codec` and
`channel` are what both ends agree on.
"""
