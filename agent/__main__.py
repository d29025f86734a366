"""`python -m agent` is `vigil`."""

from agent.cli import main

if __name__ == "__main__":
    main()
