/** Numbers of the kernel's interface, under the names of linux/netlink.h, rtnetlink.h, if_link.h, neighbour.h. */

export const NLM_F_REQUEST = 0x01
export const NLM_F_ACK = 0x04
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_CAPPED = 0x100
export const NLM_F_ACK_TLVS = 0x200
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_DUMP = 0x300

export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
export const NLMSGERR_ATTR_MSG = 1

export const NLA_F_NESTED = 0x8000
export const NLA_TYPE_MASK = 0x3fff

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_SETLINK = 19
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
export const RTM_GETROUTE = 26
export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
export const RTM_GETNEIGH = 30
export const RTM_NEWNETCONF = 80

export const AF_UNSPEC = 0
export const AF_INET = 2
export const AF_INET6 = 10

export const IFF_UP = 0x1
export const IFF_NOARP = 0x80
export const IFF_MULTICAST = 0x1000
export const IFF_LOWER_UP = 0x10000

export const IFLA_ADDRESS = 1
export const IFLA_IFNAME = 3
export const IFLA_MTU = 4
export const IFLA_LINK = 5
export const IFLA_MASTER = 10
export const IFLA_LINKINFO = 18
export const IFLA_IFALIAS = 20
export const IFLA_AF_SPEC = 26
export const IFLA_GROUP = 27
export const IFLA_NET_NS_FD = 28
export const IFLA_EXT_MASK = 29
export const IFLA_LINK_NETNSID = 37
export const IFLA_TARGET_NETNSID = 46
export const RTEXT_FILTER_SKIP_STATS = 8

export const IFLA_INFO_KIND = 1
export const IFLA_INFO_DATA = 2
export const VETH_INFO_PEER = 1

export const IFLA_INET_CONF = 1
export const IPV4_DEVCONF_FORWARDING = 1
export const IPV4_DEVCONF_PROXY_ARP = 3
export const IPV4_DEVCONF_ACCEPT_REDIRECTS = 4
export const IPV4_DEVCONF_SECURE_REDIRECTS = 5
export const IPV4_DEVCONF_SEND_REDIRECTS = 6
export const IPV4_DEVCONF_RP_FILTER = 8
export const IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE = 9
export const IPV4_DEVCONF_BOOTP_RELAY = 10
export const IPV4_DEVCONF_MEDIUM_ID = 14
export const IPV4_DEVCONF_ARP_IGNORE = 19
export const IPV4_DEVCONF_ARP_ACCEPT = 21
export const IPV4_DEVCONF_ACCEPT_LOCAL = 23
export const IPV4_DEVCONF_PROXY_ARP_PVLAN = 25
export const IPV4_DEVCONF_ROUTE_LOCALNET = 26
export const IFLA_INET6_CONF = 2
export const IFLA_INET6_ADDR_GEN_MODE = 8
export const DEVCONF_ACCEPT_RA = 3
export const DEVCONF_ACCEPT_REDIRECTS = 4
export const DEVCONF_AUTOCONF = 5
export const DEVCONF_RTR_SOLICITS = 7
export const DEVCONF_ACCEPT_SOURCE_ROUTE = 24
export const DEVCONF_DISABLE_IPV6 = 26
export const DEVCONF_ACCEPT_DAD = 27
export const DEVCONF_DROP_UNSOLICITED_NA = 41
export const DEVCONF_SEG6_ENABLED = 44
export const DEVCONF_RPL_SEG_ENABLED = 51
export const DEVCONF_IOAM6_ENABLED = 53
export const DEVCONF_ACCEPT_UNTRACKED_NA = 57
export const IN6_ADDR_GEN_MODE_NONE = 1

export const IFA_ADDRESS = 1
export const IFA_LOCAL = 2
export const IFA_FLAGS = 8
export const IFA_TARGET_NETNSID = 10
/** Of IPv6 addresses it means temporary (`IFA_F_TEMPORARY`). */
export const IFA_F_SECONDARY = 0x01
export const IFA_F_NODAD = 0x02
export const IFA_F_DADFAILED = 0x08
export const IFA_F_DEPRECATED = 0x20
export const IFA_F_TENTATIVE = 0x40
export const IFA_F_PERMANENT = 0x80

export const NDA_DST = 1
export const NDA_LLADDR = 2
export const NDA_IFINDEX = 8
export const NTF_ROUTER = 0x80
export const NUD_REACHABLE = 0x02
export const NUD_PROBE = 0x10
/** PERMANENT, NOARP, REACHABLE, PROBE, STALE and DELAY: the link-layer address is known (net/neighbour.h). */
export const NUD_VALID = 0xde
export const NUD_FAILED = 0x20
export const NUD_PERMANENT = 0x80

export const RT_TABLE_MAIN = 254
export const RT_TABLE_LOCAL = 255
export const RTPROT_REDIRECT = 1
export const RTPROT_KERNEL = 2
export const RTPROT_BOOT = 3
export const RTPROT_RA = 9
export const RT_SCOPE_UNIVERSE = 0
export const RT_SCOPE_LINK = 253
export const RT_SCOPE_HOST = 254
export const RT_SCOPE_NOWHERE = 255
export const RTN_UNSPEC = 0
export const RTN_UNICAST = 1
export const RTN_LOCAL = 2
export const RTNH_F_ONLINK = 4
export const RTM_F_CLONED = 0x200
export const RTM_F_FIB_MATCH = 0x2000

export const RTA_DST = 1
export const RTA_OIF = 4
export const RTA_GATEWAY = 5
export const RTA_PRIORITY = 6
export const RTA_PREFSRC = 7
export const RTA_MULTIPATH = 9
export const RTA_TABLE = 15
export const RTA_VIA = 18

export const NETCONFA_IFINDEX = 1
export const NETCONFA_FORWARDING = 2
export const NETCONFA_RP_FILTER = 3
export const NETCONFA_PROXY_NEIGH = 5

export const RTMGRP_LINK = 1 << 0
export const RTMGRP_NEIGH = 1 << 2
export const RTMGRP_IPV4_IFADDR = 1 << 4
export const RTMGRP_IPV4_ROUTE = 1 << 6
export const RTMGRP_IPV6_IFADDR = 1 << 8
export const RTMGRP_IPV6_ROUTE = 1 << 10
export const RTMGRP_IPV4_NETCONF = 1 << 23
export const RTMGRP_IPV6_NETCONF = 1 << 24
export const RTNLGRP_LINK = 1
