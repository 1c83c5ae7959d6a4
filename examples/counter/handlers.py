"""What the counter server answers. Edit a method and save: the next request runs the new code."""

import threading


class Counter:
    """A number in memory. Restarting the server would lose it; a patch doesn't."""

    def __init__(self) -> None:
        self.value = 0
        self.lock = threading.Lock()

    def increment(self) -> str:
        with self.lock:
            self.value += 1
            return f"the counter is now {self.value}"

    def get(self) -> str:
        return f"the counter is {self.value}"

    def __repr__(self) -> str:
        return f"<Counter at {self.value}, {self._parity()}>"

    def _parity(self) -> str:
        return "odd" if self.value % 2 else "even"
