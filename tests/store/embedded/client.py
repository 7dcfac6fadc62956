"""A client process for the tests: acquires, says so, and does what it is told until it is killed."""

import json
import os
import sys
import time

from dataflows_sdk.errors import EmbeddedServerError
from dataflows_sdk.store.embedded import acquire


def main() -> None:
    begin = time.perf_counter()
    try:
        server = acquire(sys.argv[1])
    except EmbeddedServerError as error:
        say(error=str(error))
        return
    say(url=server.url, tcp_url=server.tcp_url, seconds=time.perf_counter() - begin)
    for command in sys.stdin:
        if command.strip() == "fork and close":
            child = os.fork()
            if child == 0:
                server.close()
                os._exit(0)
            os.waitpid(child, 0)
            say(done=True)
        elif command.strip() == "fork and acquire":
            if os.fork() == 0:
                mine = acquire(sys.argv[1])
                say(url=mine.url, pid=os.getpid())
                sys.stdin.read()
                time.sleep(300)
        elif command.strip() == "close":
            server.close()
            say(done=True)
    # The end of the input: leave without a word, as most programs do.


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
