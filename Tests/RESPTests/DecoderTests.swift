import RESP
import Testing
struct DecoderTests {}
