"""The parts of the chaos test, `benchmarks/chaos.py`.

flows       the workflows, and what each must come to
worker      a process that executes them: python -m storm.worker
unfenced    the engine's statements without the fence, to prove that the test bites
postgres    a PostgreSQL that can be killed and comes back
fleet       the worker processes: started, stopped, killed
driver      starts runs, sends events, and keeps a list of what was acknowledged
monkey      what is done to them, at random
watcher     looks at the concurrency caps all the time
checks      what must hold at the end
zombie      one zombie, made on purpose
"""
