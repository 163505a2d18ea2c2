"""TV-L1 optical flow: solvers, the two-channel image encoding, and a verified store of flow."""

from flow.encoding import decode, encode
from flow.errors import InputError
from flow.tvl1 import TVL1Params, tvl1, tvl1_video

__all__ = ["InputError", "TVL1Params", "decode", "encode", "tvl1", "tvl1_video"]
