//! fwknop's single packets: what its client made and its server took, and what nobody may get past.
//!
//! `tests/ancestors/fwknop-vectors.json` holds what fwknop 2.6.10 did: 54 packets, 14 refusals of the client, and 83
//! cases of the server.

mod vectors;
