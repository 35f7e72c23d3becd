// Package tlsrecord goes on with a TLS 1.3 connection that crypto/tls began, and keeps
// no more of it than its records need: for each direction a key, an initialization
// vector and a counter.
//
//	            first = tls.Server(h, h.Config(base))          conn = h.TakeOver(first)
//	            ┌───────────────────────────────────┐          ┌─────────────────────┐
//	socket ──── │ Handshake: one record at a time   │   ──>    │ Conn: 128 bytes     │
//	            │ secrets, number of tickets        │          │ keys, counters      │
//	            └───────────────────────────────────┘          └─────────────────────┘
//
// # Why
//
// A [crypto/tls.Conn] that waits holds some 12 KB: both AEAD states, the certificate
// of the other side and what its chain was verified with, the configuration, buffers.
// A server of many quiet connections needs none of it. Measured, a parked session of a
// listener takes 12 to 13.5 KB in all with crypto/tls and 1.2 to 1.4 KB with keys alone
// (BenchmarkIdleSession).
//
// What is paid for that: AES-GCM is set up anew in each Read and Write that has records,
// 0.7 µs and 1.3 KB of garbage (BenchmarkSeal, BenchmarkOpen; ChaCha20-Poly1305 almost
// nothing), where the system call takes some 17 µs. No AEAD is kept for a while: of the
// three records of a task (task, result, acknowledgement) no two of one direction are
// near enough that a cache much smaller than one for all connections would help. Taking
// over costs 7 µs of a sign-in (BenchmarkTakeOver).
//
// # What it relies on
//
// Only what crypto/tls exports is used, and no key schedule is copied. What is relied
// on beside the documentation is this; a test fails when it is no longer so:
//
//   - [crypto/tls.Config].KeyLogWriter is told CLIENT_TRAFFIC_SECRET_0 and
//     SERVER_TRAFFIC_SECRET_0 (labels of the SSLKEYLOGFILE format) before the handshake is over.
//     If it is not, nothing is taken over.
//   - With the first of these the server sends nothing but session tickets, each in one
//     record, and calls WrapSession once for each. So many records does the other side
//     count before our first. A ticket that may need two records is not taken over.
//   - crypto/tls asks its connection for more only while it has no whole record, and
//     reads none behind the client's Finished before the application reads. As it is
//     handed one record at a time, all that follows is still in [Handshake].
//   - A Finished that shares its record with more is refused by crypto/tls (RFC 8446,
//     5.1: messages do not go over a change of keys).
//
// If one of the last three changed, connections would end with bad_record_mac at
// their first record: nothing would be revealed, but nobody could talk. That is why
// it is not what a listener does unless it is told to, and why the tests here run
// against crypto/tls itself: every kind of handshake, all suites, random lengths and
// segments (TestAgreesWithCryptoTLS), and hostile records (FuzzRead).
//
// # What a Conn does
//
//   - Records of RFC 8446, 5: at most 2^14 bytes of data in each, sent without padding,
//     received with any; the legacy version must be 0x0303, as in crypto/tls.
//   - At most 16 records without data are received one after the other.
//   - close_notify is [io.EOF]; user_canceled is passed over; every other alert is an
//     error "remote error". A stream that ends without close_notify is [io.EOF] between
//     two records, as in crypto/tls, and [io.ErrUnexpectedEOF] within one: who speaks
//     over it must frame its messages.
//   - Every record that should not be is answered with the alert of crypto/tls, and ends
//     the connection with a [*ProtocolError].
//   - A KeyUpdate, and any other message of the handshake, is answered with
//     unexpected_message and ends the connection: the secrets that new keys come from
//     are gone. RFC 8446, 4.6.3 lets either side ask for new keys at any time; clients
//     of Go never do unasked, and others do after millions of records. So does
//     change_cipher_spec, which has no place behind the handshake.
//   - [MaxRecords] in a direction end the connection with close_notify and
//     [ErrExhausted]. The other side signs in anew, with new keys.
//   - [Conn.Close] forgets keys and data. Of copies that crypto/tls made, and of those
//     in AEAD states that have been let go, the collector disposes when it comes to it.
//
// While nothing has come a Conn has no buffer. Of a record that has come in part,
// what has come is kept: at most twice the size of a record, of a record's data that
// was not read yet at most 16 KiB. All work is done in buffers of a pool.
//
// # What it does not do
//
// There is no client's side, no TLS 1.2, no 0-RTT (crypto/tls takes none), no
// post-handshake authentication, no renewal of keys, and no FIPS mode: there crypto/tls
// alone may count the numbers of AES-GCM. Whatever cannot be taken over stays with
// crypto/tls: [Handshake.TakeOver] says [errors.ErrUnsupported] then.
package tlsrecord
