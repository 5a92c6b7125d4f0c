//! More numbers of `include/uapi/linux/netfilter/nf_tables.h` and `nf_tables_compat.h`.

pub(super) const TABLE_NAME: u16 = 1;
/// `NFT_TABLE_F_DORMANT`.
pub(super) const DORMANT: u32 = 1;
/// `NFT_TABLE_F_OWNER`.
pub(super) const OWNER: u32 = 2;

pub(super) const HOOK_DEVICE: u16 = 3;
pub(super) const HOOK_DEVICES: u16 = 4;
pub(super) const DEVICE_NAME: u16 = 1;
pub(super) const RULE_HANDLE: u16 = 3;

pub(super) const CT_REGISTER: u16 = 1;
pub(super) const CT_KEY: u16 = 2;
pub(super) const CT_DIRECTION: u16 = 3;
pub(super) const BITWISE_OPERATION: u16 = 6;
pub(super) const BYTEORDER_FROM: u16 = 1;
pub(super) const BYTEORDER_TO: u16 = 2;
pub(super) const BYTEORDER_LENGTH: u16 = 4;
pub(super) const BYTEORDER_SIZE: u16 = 5;
pub(super) const LOOKUP_INTO: u16 = 3;
pub(super) const LOOKUP_FLAGS: u16 = 5;
pub(super) const LIMIT_FLAGS: u16 = 5;
pub(super) const CONNLIMIT_FLAGS: u16 = 2;
pub(super) const DYNSET_EXPRESSION: u16 = 7;
pub(super) const DYNSET_EXPRESSIONS: u16 = 10;
pub(super) const NAT_TYPE: u16 = 1;
/// `NFT_NAT_DNAT`.
pub(super) const NAT_OF_DESTINATION: u32 = 1;
pub(super) const NAT_ADDRESS: u16 = 3;
pub(super) const NAT_PORT: u16 = 5;
pub(super) const REDIRECT_PORT: u16 = 1;

/// Name, revision and data of iptables' matches and targets.
pub(super) const XT_NAME: u16 = 1;
pub(super) const XT_REVISION: u16 = 2;
pub(super) const XT_DATA: u16 = 3;

pub(super) const DESCRIPTION_FIELDS: u16 = 2;
pub(super) const FIELD_LENGTH: u16 = 1;
pub(super) const ELEMENT_DATA: u16 = 2;
pub(super) const ELEMENT_KEY_END: u16 = 10;
/// `NFT_SET_ELEM_INTERVAL_END`.
pub(super) const IS_END: u32 = 1;
/// `NFT_SET_ELEM_CATCHALL`.
pub(super) const IS_FOR_ALL: u32 = 2;
