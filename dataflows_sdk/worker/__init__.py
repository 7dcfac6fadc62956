"""Workers: who takes on which runs, and how others know that a process is alive."""
