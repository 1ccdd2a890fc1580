"""`python -m meteora`: the same as the command `meteora`."""

from meteora.cli import main

if __name__ == "__main__":
    main()
