"""How many rows may be under way: additive increase, multiplicative decrease, but for chance.

TCP's rule (Chiu and Jain, 1989) halves at every loss. A server that fails one attempt in ten at
random would be sent four at a time then, for nothing: fewer at once do not make it fail less. So
failures are summed up against the healthy answers between them (Page's CUSUM, 1954), and only what
chance does not explain cuts the limit. A cut after which as much fails, and less succeeds, is
taken back. Pure: it is told what happened, and when.
"""

import attrs

_FORGIVEN = 0.25
"""What a healthy answer makes up for at first: with under 1 attempt in 5 failing, no cut."""

_TOO_MUCH = 16.0
"""The sum of failures that cuts: 16 in a row, or about 40 answers of which half are failures. With
1 attempt in 10 failing at random, 10⁶ of them reach it 8 times (simulated, 100 at once)."""

_HEAVIEST = 3
"""A failure weighs twice as much for each that its call has met before, so many times at most:
where the server is full of our own rows, it is the repeats that find no place."""

_IN_VAIN = 0.65
"""A cut to half that leaves less than this of the healthy answers a second was for nothing."""

_SMOOTHING = 1 / 16
"""What the latest answer weighs in the usual time of one."""


@attrs.define
class Window:
    """The limit, between 1 and `most`, and what it depends on.

    `usual` is how many seconds a healthy answer takes, or None before there was one. Until the
    first cut the limit doubles in each round of answers, and then it grows by 1 in each.
    """

    most: int
    start: int
    since: float
    usual: float | None = None
    limit: int = attrs.field(init=False)
    """How many may be under way now."""
    _size: float = attrs.field(init=False)  # a converter would be called by each assignment
    _fast: bool = attrs.field(default=True, init=False)
    _failures: float = attrs.field(default=0.0, init=False)
    _forgiven: float = attrs.field(default=_FORGIVEN, init=False)
    _healthy: int = attrs.field(default=0, init=False)
    _before: tuple[float, float] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._resize(float(min(self.start, self.most)))

    def healthy(self, elapsed: float, under_way: int) -> None:
        """Hear of an answer that took `elapsed` seconds; grow if the limit was really used."""
        self._healthy += 1
        self._failures = max(0.0, self._failures - self._forgiven)
        self.usual = elapsed if self.usual is None else self.usual
        self.usual += (elapsed - self.usual) * _SMOOTHING
        if self._size < self.most and under_way * 2 >= self.limit:
            self._resize(min(self._size + (1.0 if self._fast else 1 / self._size), self.most))

    def failed(self, now: float, began: float, number: int) -> None:
        """Hear of the failure of a call's attempt that began at `began`.

        What was under way already when the limit was last changed says nothing of the limit since.
        """
        if began > self.since:
            self._failures += 2.0 ** min(number - 1, _HEAVIEST)
            if self._failures >= _TOO_MUCH:
                self._judge(now)

    def throttled(self, now: float, began: float) -> None:
        """Hear of a 429, which is no matter of chance."""
        if began > self.since:
            self._cut(now, None)

    def restart(self, now: float) -> None:
        """Begin small again, and climb as fast as in the beginning."""
        self._change(now, min(self._size, self.start))
        self._fast, self._before = True, None

    def _judge(self, now: float) -> None:
        """Cut, unless the last cut has shown that it is of no use."""
        rate = self._healthy / (now - self.since)
        if self._before is None or rate >= self._before[0] * _IN_VAIN:
            self._cut(now, (rate, self._size))
        else:
            self._forgiven *= 2
            self._change(now, self._before[1])
            self._before = None

    def _cut(self, now: float, before: tuple[float, float] | None) -> None:
        self._fast, self._before = False, before
        self._change(now, max(1.0, self._size / 2))

    def _change(self, now: float, size: float) -> None:
        self.since = now
        self._resize(size)
        self._failures, self._healthy = 0.0, 0

    def _resize(self, size: float) -> None:
        self._size, self.limit = size, int(size)
