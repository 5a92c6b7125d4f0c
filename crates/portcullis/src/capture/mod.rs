//! Where frames come from: the live ring, plain sockets, or a file.

pub mod pcap;
