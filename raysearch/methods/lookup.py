"""The methods by name."""

from raysearch.config import Options
from raysearch.errors import UserError
from raysearch.methods.method import Method


def find_method(options: Options) -> Method:
    """Return the method that the options name.

    Raises:
        UserError: the method is made of several studies.
    """
    match options.method:
        case "proposed":
            from raysearch.methods.proposed import Proposed

            return Proposed(options)
        case "serial":
            from raysearch.methods.serial import Serial

            return Serial(options)
        case "serial_aam":
            from raysearch.methods.serial_aam import SerialAam

            return SerialAam(options)
        case "ddcsad":
            from raysearch.methods.ddcsad import Ddcsad

            return Ddcsad(options)
        case "autoencoder":
            from raysearch.methods.autoencoder import Autoencoder

            return Autoencoder(options)
        case "flow":
            from raysearch.methods.flow import Flow

            return Flow(options)
        case "baseline":
            from raysearch.methods.baseline import Baseline

            return Baseline(options)
        case "frozen":
            from raysearch.methods.frozen import Frozen

            return Frozen(options)
        case "parallel":
            raise UserError(
                "method: parallel is no method of a single trial; `raysearch run` searches its "
                "members, `raysearch ensemble` combines finished runs"
            )
