"""How much load there really was: requests in flight, agents alive."""

from array import array

from swarm.analysis.window import Window
from swarm.recording.records import AgentEnd, Attempt


class Load:
    """Load of one stage in one trial. Keeps 16 bytes per request, for the largest number in flight."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._sends: array[int] = array("q")
        self._ends: array[int] = array("q")
        self.in_flight_ns = 0
        """Integral of the requests in flight (from send to end of stream or abort) over the window."""
        self.alive_ns = 0
        """Integral of the agents alive over the window."""
        self.crashes: dict[int, str] = {}
        """Agent -> what it died of."""

    def add_attempt(self, attempt: Attempt) -> None:
        inside = self._window.overlap(attempt.t_ns, attempt.end_ns)
        if inside:
            self.in_flight_ns += inside
            self._sends.append(attempt.t_ns)
            self._ends.append(attempt.end_ns)

    def add_agent_end(self, life: AgentEnd) -> None:
        self.alive_ns += self._window.overlap(life.t_ns, life.end_ns)
        if life.crash is not None and life.agent is not None:
            self.crashes[life.agent] = life.crash

    def most_in_flight(self) -> int:
        """The largest number of requests in flight at once in the window."""
        ends = sorted(self._ends)
        most = ended = 0
        for sent, send in enumerate(sorted(max(send, self._window.start_ns) for send in self._sends), 1):
            while ends[ended] <= send:
                ended += 1
            most = max(most, sent - ended)
        return most
