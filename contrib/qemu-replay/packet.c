/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a packet is, in one line.
 *
 * packet_parse() finds the headers; it reads no byte beyond the end, and each
 * header is either complete or absent.  Both public functions begin with it.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "packet.h"
#include "tool.h"

#define ETHERTYPE_IPV4  0x0800
#define ETHERTYPE_ARP   0x0806
#define ETHERTYPE_VLAN  0x8100
#define ETHERTYPE_QINQ  0x88a8
#define ETHERTYPE_IPV6  0x86dd

#define PROTOCOL_ICMP   1
#define PROTOCOL_TCP    6
#define PROTOCOL_UDP    17
#define PROTOCOL_ICMPV6 58

#define PORT_DNS        53
#define PORT_DHCP       67
#define PORT_DHCP_GUEST 68
#define PORT_MDNS       5353

/* The most headers of one packet; IPv6 can have many. */
#define HEADERS_MAX     16
/* The most characters of a name that a summary shows. */
#define NAME_MAX_CHARS  80

typedef struct Field {
    uint8_t offset;             /* the field ends where the next one begins */
    const char *name;           /* NULL behind the last */
} Field;

static const Field ethernet_fields[] = {
    { 0, "destination" }, { 6, "source" }, { 12, "type" }, { }
};
static const Field vlan_fields[] = {
    { 0, "tag" }, { 2, "type" }, { }
};
static const Field arp_fields[] = {
    { 0, "hardware type" }, { 2, "protocol type" }, { 4, "hardware size" },
    { 5, "protocol size" }, { 6, "operation" }, { 8, "sender MAC address" },
    { 14, "sender IP address" }, { 18, "target MAC address" },
    { 24, "target IP address" }, { }
};
static const Field ipv4_fields[] = {
    { 0, "version and header length" }, { 1, "type of service" },
    { 2, "total length" }, { 4, "identification" },
    { 6, "flags and fragment offset" }, { 8, "time to live" },
    { 9, "protocol" }, { 10, "header checksum" }, { 12, "source address" },
    { 16, "destination address" }, { 20, "options" }, { }
};
static const Field ipv6_fields[] = {
    { 0, "version, class and flow label" }, { 4, "payload length" },
    { 6, "next header" }, { 7, "hop limit" }, { 8, "source address" },
    { 24, "destination address" }, { }
};
static const Field extension_fields[] = {
    { 0, "next header" }, { 1, "length" }, { 2, "content" }, { }
};
static const Field tcp_fields[] = {
    { 0, "source port" }, { 2, "destination port" }, { 4, "sequence number" },
    { 8, "acknowledgment number" }, { 12, "data offset" }, { 13, "flags" },
    { 14, "window" }, { 16, "checksum" }, { 18, "urgent pointer" },
    { 20, "options" }, { }
};
static const Field udp_fields[] = {
    { 0, "source port" }, { 2, "destination port" }, { 4, "length" },
    { 6, "checksum" }, { }
};
static const Field icmp_fields[] = {
    { 0, "type" }, { 1, "code" }, { 2, "checksum" },
    { 4, "rest of the header" }, { }
};

typedef struct Header {
    const char *name;
    const Field *fields;
    size_t offset;
    size_t len_bytes;
} Header;

typedef struct Packet {
    const uint8_t *data;
    size_t len_bytes;
    Header header[HEADERS_MAX];
    unsigned n_headers;

    /* Offsets of complete headers, or 0. */
    size_t arp, ip, transport;
    bool is_ipv6;
    bool is_fragment;           /* not the first one of its IP packet */
    uint16_t ethertype;
    uint8_t protocol;           /* above IP */
    int vlan;                   /* -1: none */
    size_t payload;             /* offset of what follows the last header */
    size_t end;                 /* of the payload, without Ethernet's padding */
} Packet;

/* --- Headers ----------------------------------------------------------- */

/* Returns: whether the packet has another header with this length. */
static bool packet_add(Packet *p, const char *name, const Field *fields,
                       size_t len_bytes)
{
    if (len_bytes > p->end - p->payload || p->n_headers == HEADERS_MAX) {
        return false;
    }
    p->header[p->n_headers++] = (Header) {
        .name = name,
        .fields = fields,
        .offset = p->payload,
        .len_bytes = len_bytes,
    };
    p->payload += len_bytes;
    return true;
}

static void packet_parse_transport(Packet *p)
{
    size_t at = p->payload;
    const uint8_t *h = p->data + at;
    bool found = false;

    if (p->is_fragment) {
        return;
    }
    switch (p->protocol) {
    case PROTOCOL_TCP:
        if (p->end - at >= 20) {
            size_t len_bytes = (h[12] >> 4) * 4;

            found = packet_add(p, "TCP", tcp_fields,
                               len_bytes >= 20 && len_bytes <= p->end - at
                               ? len_bytes : 20);
        }
        break;
    case PROTOCOL_UDP:
        found = packet_add(p, "UDP", udp_fields, 8);
        break;
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
        found = packet_add(p, p->protocol == PROTOCOL_ICMP ? "ICMP" : "ICMPv6",
                           icmp_fields, 8);
        break;
    }
    p->transport = found ? at : 0;
}

static void packet_parse_ipv4(Packet *p)
{
    size_t at = p->payload;
    const uint8_t *h = p->data + at;
    size_t hdr_bytes, total_bytes;

    if (p->end - at < 20 || h[0] >> 4 != 4) {
        return;
    }
    hdr_bytes = (h[0] & 15) * 4;
    total_bytes = lduw_be_p(h + 2);
    if (hdr_bytes < 20 || !packet_add(p, "IPv4", ipv4_fields, hdr_bytes)) {
        return;
    }
    p->ip = at;
    p->protocol = h[9];
    p->is_fragment = lduw_be_p(h + 6) & 0x1fff;
    if (total_bytes >= hdr_bytes && total_bytes < p->end - at) {
        p->end = at + total_bytes;
    }
    packet_parse_transport(p);
}

static bool is_ipv6_extension(uint8_t protocol)
{
    return protocol == 0 || protocol == 43 || protocol == 44 || protocol == 60;
}

static void packet_parse_ipv6(Packet *p)
{
    size_t at = p->payload;
    const uint8_t *h = p->data + at;
    size_t payload_bytes;

    if (p->end - at < 40 || h[0] >> 4 != 6) {
        return;
    }
    packet_add(p, "IPv6", ipv6_fields, 40);
    p->ip = at;
    p->is_ipv6 = true;
    p->protocol = h[6];
    payload_bytes = lduw_be_p(h + 4);
    if (payload_bytes && payload_bytes < p->end - p->payload) {
        p->end = p->payload + payload_bytes;
    }
    while (is_ipv6_extension(p->protocol) && p->end - p->payload >= 8) {
        const uint8_t *x = p->data + p->payload;
        bool is_fragment = p->protocol == 44;

        if (!packet_add(p, "IPv6 extension", extension_fields,
                        is_fragment ? 8 : 8 + x[1] * 8)) {
            return;
        }
        if (is_fragment && lduw_be_p(x + 2) & 0xfff8) {
            p->is_fragment = true;
        }
        p->protocol = x[0];
    }
    packet_parse_transport(p);
}

static void packet_parse(Packet *p, const uint8_t *data, size_t len_bytes)
{
    *p = (Packet) {
        .data = data,
        .len_bytes = len_bytes,
        .vlan = -1,
        .end = len_bytes,
    };
    if (!packet_add(p, "Ethernet", ethernet_fields, 14)) {
        return;
    }
    p->ethertype = lduw_be_p(data + 12);
    while (p->ethertype == ETHERTYPE_VLAN || p->ethertype == ETHERTYPE_QINQ) {
        const uint8_t *h = data + p->payload;

        if (!packet_add(p, "VLAN", vlan_fields, 4)) {
            return;
        }
        p->vlan = lduw_be_p(h) & 0xfff;
        p->ethertype = lduw_be_p(h + 2);
    }
    switch (p->ethertype) {
    case ETHERTYPE_ARP:
        p->arp = packet_add(p, "ARP", arp_fields, 28) ? p->payload - 28 : 0;
        break;
    case ETHERTYPE_IPV4:
        packet_parse_ipv4(p);
        break;
    case ETHERTYPE_IPV6:
        packet_parse_ipv6(p);
        break;
    }
}

char *packet_field(const uint8_t *data, size_t len_bytes, size_t offset)
{
    Packet p;
    unsigned i;

    packet_parse(&p, data, len_bytes);
    for (i = 0; i < p.n_headers; i++) {
        const Header *h = &p.header[i];
        const Field *f = h->fields;

        if (offset >= h->offset && offset - h->offset < h->len_bytes) {
            while (f[1].name && f[1].offset <= offset - h->offset) {
                f++;
            }
            return g_strdup_printf("%s %s", h->name, f->name);
        }
    }
    if (offset >= p.end) {
        return g_strdup("padding");
    }
    if (!p.n_headers) {
        return g_strdup("incomplete Ethernet header");
    }
    return g_strdup_printf("%s payload, byte %zu",
                           p.header[p.n_headers - 1].name, offset - p.payload);
}

/* --- Texts ------------------------------------------------------------- */

/* Appends @text and then @value. */
static void put_value(GString *out, const char *text, uint64_t value)
{
    g_string_append(out, text);
    tool_put_u64(out, value, 1, ' ');
}

static void put_mac(GString *out, const uint8_t *mac)
{
    static const char digits[] = "0123456789abcdef";
    unsigned i;

    for (i = 0; i < 6; i++) {
        if (i) {
            g_string_append_c(out, ':');
        }
        g_string_append_c(out, digits[mac[i] >> 4]);
        g_string_append_c(out, digits[mac[i] & 15]);
    }
}

static void put_ipv4(GString *out, const uint8_t *a)
{
    unsigned i;

    for (i = 0; i < 4; i++) {
        put_value(out, i ? "." : "", a[i]);
    }
}

/* As RFC 5952 asks for: the longest run of two or more zeros becomes "::". */
static void put_ipv6(GString *out, const uint8_t *a)
{
    int best = -1, best_len = 1, i = 0;

    while (i < 8) {
        int n = 0;

        while (i + n < 8 && !lduw_be_p(a + 2 * (i + n))) {
            n++;
        }
        if (n > best_len) {
            best = i;
            best_len = n;
        }
        i += MAX(n, 1);
    }
    for (i = 0; i < 8; i++) {
        if (i == best) {
            g_string_append(out, "::");
            i += best_len - 1;
            continue;
        }
        if (i && i != best + best_len) {
            g_string_append_c(out, ':');
        }
        g_string_append_printf(out, "%x", lduw_be_p(a + 2 * i));
    }
}

static void put_address(GString *out, const Packet *p, bool is_source)
{
    const uint8_t *h = p->data + p->ip;

    if (p->is_ipv6) {
        put_ipv6(out, h + (is_source ? 8 : 24));
    } else {
        put_ipv4(out, h + (is_source ? 12 : 16));
    }
}

static void put_addresses(GString *out, const Packet *p)
{
    bool has_ports = p->transport && (p->protocol == PROTOCOL_TCP ||
                                      p->protocol == PROTOCOL_UDP);
    unsigned i;

    for (i = 0; i < 2; i++) {
        if (i) {
            g_string_append(out, " > ");
        }
        if (has_ports && p->is_ipv6) {
            g_string_append_c(out, '[');
        }
        put_address(out, p, !i);
        if (has_ports) {
            put_value(out, p->is_ipv6 ? "]:" : ":",
                      lduw_be_p(p->data + p->transport + 2 * i));
        }
    }
}

static void put_arp(GString *out, const Packet *p)
{
    const uint8_t *h = p->data + p->arp;
    unsigned operation = lduw_be_p(h + 6);

    g_string_append(out, "ARP ");
    if (operation == 1) {
        g_string_append(out, "who-has ");
        put_ipv4(out, h + 24);
        g_string_append(out, " tell ");
        put_ipv4(out, h + 14);
    } else if (operation == 2) {
        g_string_append(out, "reply ");
        put_ipv4(out, h + 14);
        g_string_append(out, " is-at ");
        put_mac(out, h + 8);
    } else {
        g_string_append_printf(out, "operation %u", operation);
    }
}

static void put_tcp(GString *out, const Packet *p)
{
    static const char names[] = "FSRPAUEC";
    const uint8_t *h = p->data + p->transport;
    unsigned i;

    g_string_append(out, "TCP [");
    for (i = 0; names[i]; i++) {
        if (h[13] & (1 << i)) {
            g_string_append_c(out, names[i]);
        }
    }
    put_value(out, "] seq ", (uint32_t)ldl_be_p(h + 4));
    if (h[13] & 0x10) {
        put_value(out, " ack ", (uint32_t)ldl_be_p(h + 8));
    }
    put_value(out, " win ", lduw_be_p(h + 14));
    put_value(out, " len ", p->end - p->payload);
}

/*
 * Appends the name at @p->data[at], without following pointers.
 * Returns: the offset of what follows the name; 0 if it is not complete.
 */
static size_t put_dns_name(GString *out, const Packet *p, size_t at)
{
    size_t chars = 0;

    while (at < p->end) {
        unsigned n = p->data[at++];

        if (!n) {
            if (!chars) {
                g_string_append_c(out, '.');
            }
            return at;
        }
        if (n >= 0x40 || n > p->end - at) {
            break;
        }
        if (chars && chars < NAME_MAX_CHARS) {
            g_string_append_c(out, '.');
        }
        for (; n; n--, at++, chars++) {
            char c = p->data[at];

            if (chars < NAME_MAX_CHARS) {
                g_string_append_c(out, g_ascii_isgraph(c) ? c : '?');
            }
        }
    }
    g_string_append(out, "...");
    return 0;
}

static const char *dns_type(unsigned type)
{
    switch (type) {
    case 1:
        return "A";
    case 2:
        return "NS";
    case 5:
        return "CNAME";
    case 6:
        return "SOA";
    case 12:
        return "PTR";
    case 15:
        return "MX";
    case 16:
        return "TXT";
    case 28:
        return "AAAA";
    case 33:
        return "SRV";
    case 65:
        return "HTTPS";
    case 255:
        return "ANY";
    }
    return NULL;
}

static void put_dns(GString *out, const Packet *p, const char *protocol)
{
    static const char *const errors[] = {
        "", " FORMERR", " SERVFAIL", " NXDOMAIN", " NOTIMP", " REFUSED"
    };
    const uint8_t *h = p->data + p->payload;
    unsigned flags, questions;
    size_t at;

    if (p->end - p->payload < 12) {
        return;
    }
    flags = lduw_be_p(h + 2);
    questions = lduw_be_p(h + 4);
    g_string_append_printf(out, ", %s %s", protocol,
                           flags & 0x8000 ? "answer" : "query");
    if ((flags & 15) < G_N_ELEMENTS(errors)) {
        g_string_append(out, errors[flags & 15]);
    }
    if (!questions) {
        return;
    }
    g_string_append_c(out, ' ');
    at = put_dns_name(out, p, p->payload + 12);
    if (at && p->end - at >= 2) {
        unsigned type = lduw_be_p(p->data + at);

        if (dns_type(type)) {
            g_string_append_printf(out, " %s", dns_type(type));
        } else {
            g_string_append_printf(out, " type %u", type);
        }
    }
    if (flags & 0x8000) {
        g_string_append_printf(out, ", %u records", lduw_be_p(h + 6));
    }
}

static void put_dhcp(GString *out, const Packet *p)
{
    static const char *const names[] = {
        NULL, "discover", "offer", "request", "decline", "ack", "nak",
        "release", "inform"
    };
    const uint8_t *h = p->data + p->payload;
    size_t at = p->payload + 240;

    if (p->end - p->payload < 240 || ldl_be_p(h + 236) != 0x63825363) {
        return;
    }
    g_string_append(out, ", DHCP");
    while (at + 1 < p->end && p->data[at] != 255) {
        unsigned option = p->data[at], n = p->data[at + 1];

        if (!option) {
            at++;
            continue;
        }
        if (n > p->end - at - 2) {
            break;
        }
        if (option == 53 && n && p->data[at + 2] &&
            p->data[at + 2] < G_N_ELEMENTS(names)) {
            g_string_append_printf(out, " %s", names[p->data[at + 2]]);
            break;
        }
        at += 2 + n;
    }
    if (h[16] | h[17] | h[18] | h[19]) {
        g_string_append(out, " for ");
        put_ipv4(out, h + 16);
    }
    g_string_append(out, " of ");
    put_mac(out, h + 28);
}

static void put_udp(GString *out, const Packet *p)
{
    const uint8_t *h = p->data + p->transport;
    unsigned source = lduw_be_p(h), destination = lduw_be_p(h + 2);

    put_value(out, "UDP len ", p->end - p->payload);
    if (source == PORT_DNS || destination == PORT_DNS) {
        put_dns(out, p, "DNS");
    } else if (source == PORT_MDNS || destination == PORT_MDNS) {
        put_dns(out, p, "mDNS");
    } else if (source == PORT_DHCP || source == PORT_DHCP_GUEST) {
        put_dhcp(out, p);
    }
}

static const char *icmp_type(bool is_ipv6, unsigned type)
{
    if (is_ipv6) {
        switch (type) {
        case 1:
            return "unreachable";
        case 2:
            return "packet too big";
        case 3:
            return "time exceeded";
        case 128:
            return "echo request";
        case 129:
            return "echo reply";
        case 133:
            return "router solicitation";
        case 134:
            return "router advertisement";
        case 135:
            return "neighbor solicitation";
        case 136:
            return "neighbor advertisement";
        }
        return NULL;
    }
    switch (type) {
    case 0:
        return "echo reply";
    case 3:
        return "unreachable";
    case 5:
        return "redirect";
    case 8:
        return "echo request";
    case 11:
        return "time exceeded";
    }
    return NULL;
}

static void put_icmp(GString *out, const Packet *p)
{
    const uint8_t *h = p->data + p->transport;
    const char *type = icmp_type(p->is_ipv6, h[0]);
    bool is_echo = p->is_ipv6 ? h[0] == 128 || h[0] == 129
                              : h[0] == 0 || h[0] == 8;

    g_string_append(out, p->is_ipv6 ? "ICMPv6 " : "ICMP ");
    if (type) {
        g_string_append(out, type);
    } else {
        g_string_append_printf(out, "type %u code %u", h[0], h[1]);
    }
    if (is_echo) {
        g_string_append_printf(out, " id %u seq %u", lduw_be_p(h + 4),
                               lduw_be_p(h + 6));
    }
}

static void put_ip(GString *out, const Packet *p)
{
    put_addresses(out, p);
    g_string_append(out, ", ");
    if (!p->transport) {
        g_string_append_printf(out, "%s protocol %u%s",
                               p->is_ipv6 ? "IPv6" : "IPv4", p->protocol,
                               p->is_fragment ? ", fragment" : "");
    } else if (p->protocol == PROTOCOL_TCP) {
        put_tcp(out, p);
    } else if (p->protocol == PROTOCOL_UDP) {
        put_udp(out, p);
    } else {
        put_icmp(out, p);
    }
}

void packet_summary(GString *out, const uint8_t *data, size_t len_bytes)
{
    Packet p;

    packet_parse(&p, data, len_bytes);
    if (!p.n_headers) {
        g_string_append_printf(out, "incomplete, %zu bytes", len_bytes);
        return;
    }
    if (p.vlan >= 0) {
        g_string_append_printf(out, "VLAN %d, ", p.vlan);
    }
    if (p.arp) {
        put_arp(out, &p);
    } else if (p.ip) {
        put_ip(out, &p);
    } else {
        put_mac(out, data + 6);
        g_string_append(out, " > ");
        put_mac(out, data);
        g_string_append_printf(out, p.ethertype < 0x600 ? ", length %u"
                                                        : ", type 0x%04x",
                               p.ethertype);
    }
}
