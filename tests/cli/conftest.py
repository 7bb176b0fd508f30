from tests.cli.helpers import cli as cli
