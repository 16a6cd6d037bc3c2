"""`python -m singleimage`."""

import sys

from singleimage.cli import main

sys.exit(main())
