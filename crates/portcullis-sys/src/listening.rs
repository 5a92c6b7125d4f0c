//! Plain sockets that wait for strangers on a port, and give way to a service that comes to it.
//!
//! How far the kernel lets them give way (tried on Linux 6.18; the same since 4.5):
//!
//! * A port is opened as if nobody else might have it, so one that is in use is left alone. Only then are others let
//!   in beside us: `SO_REUSEPORT` for TCP (services of the same user), for UDP `SO_REUSEADDR` too (any user).
//! * From that moment the newcomer gets everything. A service at `0.0.0.0` or at one address is preferred by the
//!   kernel anyway; for one at `::` like ours there is a program of one instruction on the group of sockets: "the
//!   second". As long as we are alone there is no second, and the kernel falls back to us.
//! * Left over is a service at `::` that is for IPv6 only: the kernel counts it as of another group, and the older
//!   socket (ours) wins. Whoever holds the port asks [`crate::sock_diag`] and lets go.
//! * A TCP service that sets `SO_REUSEADDR` alone, as most do, or nothing, is refused ("address in use") while
//!   anybody listens on the port, and there is nothing that a listener could do about it.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Finished connections that wait to be taken, a port. Beyond it the kernel answers no further SYN.
const BACKLOG: i32 = 128;

/// A TCP port that is listened on, at every address of both families where the host has IPv6.
#[derive(Debug)]
pub struct TcpPort {
    socket: TcpListener,
    inode: u64,
}

/// A UDP port, likewise.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
    inode: u64,
}

/// Where a datagram came from and went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, or says so.
    pub from: SocketAddr,
    /// Which of our addresses, or which broadcast or multicast address, it was sent to; `None` if the kernel didn't
    /// say.
    pub to: Option<IpAddr>,
    /// The interface where it came in; 0 if the kernel didn't say.
    pub interface: u32,
}

impl TcpPort {
    /// Listens on a port. What is left of earlier connections (`TIME_WAIT`) doesn't keep it.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, at any address; `PermissionDenied` below 1024 without the right to;
    /// no descriptor is left.
    pub fn open(port: u16) -> io::Result<TcpPort> {
        let socket = bound(libc::SOCK_STREAM, port, &[libc::SO_REUSEADDR])?;
        // A kernel without the means to give way: then nobody is let in, and all else goes on.
        if set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).is_ok()
            && prefer_the_second(&socket).is_err()
        {
            set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 0)?;
        }
        // SAFETY: no pointers are passed and the descriptor is open.
        if unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(TcpPort { inode: inode(&socket)?, socket: TcpListener::from(socket) })
    }

    /// The next connection and who made it, without waiting; the connection itself is one that waits.
    ///
    /// # Errors
    /// As accept(2): `WouldBlock` if there is none.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.accept()
    }

    /// By this number the socket is known to [`crate::sock_diag`].
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }
}

impl UdpPort {
    /// Takes datagrams on a port.
    ///
    /// # Errors
    /// `AddrInUse` if anybody has it, at any address; otherwise as [`TcpPort::open`].
    pub fn open(port: u16) -> io::Result<UdpPort> {
        // As if nobody else might have it, so that we don't take from a service that lets others in. The program
        // needs a socket that shared its port from the beginning: a second one, made while the first has the port.
        let alone = bound(libc::SOCK_DGRAM, port, &[])?;
        let share = [libc::SO_REUSEADDR, libc::SO_REUSEPORT];
        share.iter().try_for_each(|option| set(&alone, libc::SOL_SOCKET, *option, 1))?;
        let shared = bound(libc::SOCK_DGRAM, port, &share)?;
        let socket = if prefer_the_second(&shared).is_ok() {
            shared
        } else {
            drop(shared);
            share.iter().try_for_each(|option| set(&alone, libc::SOL_SOCKET, *option, 0))?;
            alone
        };
        Ok(UdpPort { inode: inode(&socket)?, socket: UdpSocket::from(socket) })
    }

    /// Takes datagrams on a port that is shared with nobody: what comes here is for us alone, and no program that is
    /// started later takes its place.
    ///
    /// # Errors
    /// As [`UdpPort::open`].
    pub fn open_alone(port: u16) -> io::Result<UdpPort> {
        let socket = bound(libc::SOCK_DGRAM, port, &[])?;
        Ok(UdpPort { inode: inode(&socket)?, socket: UdpSocket::from(socket) })
    }

    /// The next datagram, of which nothing is read, without waiting.
    ///
    /// # Errors
    /// As recvmsg(2): `WouldBlock` if there is none.
    pub fn receive(&self) -> io::Result<Datagram> {
        self.receive_into(&mut []).map(|(datagram, _)| datagram)
    }

    /// The next datagram without waiting, and how many bytes it has; the first of them are in `buffer`, as many as have
    /// room there.
    ///
    /// # Errors
    /// As [`UdpPort::receive`].
    pub fn receive_into(&self, buffer: &mut [u8]) -> io::Result<(Datagram, usize)> {
        let mut from = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut control = Control::default();
        // SAFETY: all-zero is a valid msghdr: null pointers and lengths of zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = from.as_mut_ptr().cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        let mut data = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_iov = &raw mut data;
        message.msg_iovlen = 1;
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: name, data and control point to buffers of the stated lengths that live on; nothing is written into
        // a data buffer of length 0.
        let received = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags) };
        let Ok(length) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
        // SAFETY: zeroed above, and the kernel has written a whole address of the family that it names.
        let from = unsafe { from.assume_init() };
        let from = address_of(&from).ok_or(io::ErrorKind::InvalidData)?;
        let (to, interface) = arrival(&message).map_or((None, 0), |(to, at)| (Some(to), at));
        Ok((Datagram { from, to, interface }, length))
    }

    /// Answers a datagram from the address it was sent to, without waiting; one that was sent to nobody in
    /// particular (broadcast, multicast) is not answered.
    ///
    /// # Errors
    /// As sendmsg(2); `AddrNotAvailable` where the datagram was not sent to an address of ours.
    pub fn answer(&self, datagram: &Datagram, bytes: &[u8]) -> io::Result<()> {
        let ours = datagram.to.filter(|to| !is_for_many(*to)).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let (mut to, length) = raw_address(&datagram.from);
        let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control::default();
        // SAFETY: all-zero is a valid msghdr: null pointers and lengths of zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut to).cast();
        message.msg_namelen = length;
        message.msg_iov = &raw mut data;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        let used = match (datagram.from, ours) {
            (SocketAddr::V4(_), IpAddr::V4(ours)) => {
                let source = libc::in_addr { s_addr: u32::from_ne_bytes(ours.octets()) };
                let none = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: none };
                put(&message, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            (SocketAddr::V6(_), ours) => {
                let ours = match ours {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                // A link-local address means something only together with its interface.
                let interface = if ours.is_unicast_link_local() { datagram.interface } else { 0 };
                let source = libc::in6_addr { s6_addr: ours.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: interface };
                put(&message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
            (SocketAddr::V4(_), IpAddr::V6(_)) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        message.msg_controllen = used as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: name, data and control point to buffers of the stated lengths that live on; sendmsg only reads.
        let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, flags) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// By this number the socket is known to [`crate::sock_diag`].
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }
}

impl AsFd for TcpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

// The program would outlive us in the group: a service with several sockets would get everything on one of them.
impl Drop for TcpPort {
    fn drop(&mut self) {
        prefer_nobody(self.socket.as_fd());
    }
}

impl Drop for UdpPort {
    fn drop(&mut self) {
        prefer_nobody(self.socket.as_fd());
    }
}

/// A non-blocking socket bound to the port: at every address of both families where the host has IPv6, otherwise of
/// IPv4.
fn bound(kind: i32, port: u16, options: &[i32]) -> io::Result<OwnedFd> {
    let any = |address: IpAddr| SocketAddr::new(address, port);
    match bound_at(kind, any(Ipv6Addr::UNSPECIFIED.into()), options) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            bound_at(kind, any(Ipv4Addr::UNSPECIFIED.into()), options)
        }
        result => result,
    }
}

fn bound_at(kind: i32, address: SocketAddr, options: &[i32]) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket has just returned this descriptor, nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    for option in options {
        set(&socket, libc::SOL_SOCKET, *option, 1)?;
    }
    if address.is_ipv6() {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    }
    if kind == libc::SOCK_DGRAM {
        match address {
            // On a socket for both families this tells of IPv4 too.
            SocketAddr::V6(_) => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
            SocketAddr::V4(_) => set(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
        }
    }
    let (raw, length) = raw_address(&address);
    // SAFETY: `raw` is a socket address of `length` bytes that lives through the call.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), length) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: four bytes are read from `value`, and the descriptor is open.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel hand everything to the second socket of the port's group, if there is one.
fn prefer_the_second(socket: &OwnedFd) -> io::Result<()> {
    let return_one = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 1 };
    let mut program = [return_one];
    let program = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    // SAFETY: `program` describes one instruction that lives through the call, which copies it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const program).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn prefer_nobody(socket: BorrowedFd<'_>) {
    let nothing: i32 = 0;
    let length = size_of::<i32>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF);
    // SAFETY: four bytes are read from `nothing` at most, and the descriptor is open.
    // It fails where there is no program (an old kernel), which is as well.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const nothing).cast(), length) };
}

fn inode(socket: &OwnedFd) -> io::Result<u64> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the descriptor is open and `status` is a valid place for the answer.
    if unsafe { libc::fstat(socket.as_raw_fd(), status.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat has filled it.
    Ok(unsafe { status.assume_init() }.st_ino)
}

/// Room for one control message of either family, aligned as `struct cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Default for Control {
    fn default() -> Control {
        Control([0; 64])
    }
}

/// Where a datagram went to, and the interface where it came in.
fn arrival(message: &libc::msghdr) -> Option<(IpAddr, u32)> {
    // SAFETY: `message` was filled by recvmsg, so its control buffer holds whole messages.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: not null, so it points to a whole header within the control buffer.
        let header = unsafe { &*next };
        // SAFETY: as above; the data follow the header.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel puts a whole in6_pktinfo into a message of this type.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                return Some((IpAddr::from(to).to_canonical(), info.ipi6_ifindex));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel puts a whole in_pktinfo into a message of this type.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                let to = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                return Some((to.into(), u32::try_from(info.ipi_ifindex).unwrap_or(0)));
            }
            // SAFETY: `next` is a header of this message.
            _ => next = unsafe { libc::CMSG_NXTHDR(message, next) },
        }
    }
    None
}

/// Puts one control message at the front of the message's control buffer; how many bytes of it are used.
fn put<T>(message: &libc::msghdr, level: i32, kind: i32, value: T) -> usize {
    const { assert!(size_of::<T>() <= 40, "Control has room for a header of 16 bytes and this") };
    let size = size_of::<T>() as u32;
    // SAFETY: the control buffer is aligned for a header and holds more than CMSG_SPACE(size) bytes.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        libc::CMSG_SPACE(size) as usize
    }
}

/// Whether an address stands for many hosts. A network's own broadcast address is not known here; the kernel refuses
/// to send from it.
fn is_for_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// A socket address as the kernel reads it, and its length.
fn raw_address(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let place = &raw mut storage;
    let length = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage has room, and is aligned, for every kind of address.
            unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: a sockaddr_storage has room, and is aligned, for every kind of address.
            unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

/// The other way round; `None` for a family that is neither.
fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which kind it is, and the storage has room, and is aligned, for it.
            let raw = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(address.into(), u16::from_be(raw.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let (port, scope) = (u16::from_be(raw.sin6_port), raw.sin6_scope_id);
            Some(std::net::SocketAddrV6::new(address, port, 0, scope).into())
        }
        _ => None,
    }
}
