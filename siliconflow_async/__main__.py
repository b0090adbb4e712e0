"""`python -m siliconflow_async` is the `siliconflow-async` command."""

from .cli import main

if __name__ == "__main__":
    main()
