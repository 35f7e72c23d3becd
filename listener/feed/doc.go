// Package feed carries a site's [listener.Feed] to listeners that run apart, over
// NATS with TLS.
//
//	journal ──> source ──> Publisher ──> stream FEED ──> Client ──> listener
//	                          │                            ^
//	                          └── "begin" of each listener ┘
//
// # The stream
//
// A [Publisher] runs a NATS server of its own, with one stream in a folder that it
// empties at every start: nothing in it has to last, for all of it comes out of
// the journal's views anew. FORMAT.md describes the messages. Each has the id of a
// generation, and a number that rises by one: a generation is one uninterrupted
// reading of the source, by one run of the publisher.
//
// In the stream stand, again and again, a begin, all that is open at that place,
// and "whole", with the changes in between. The publisher makes the state that it
// writes out of the very messages that it has written before, so whoever starts at
// any begin, and whoever has followed from an earlier one, know the same: between
// state and changes nothing is lost, and nothing is told in another order. A new
// begin is written every hour, or when the changes since the last one are many;
// what stands before the begin before that is removed, and nothing is kept for
// longer than a day.
//
// # A listener
//
// A [Client] asks where to start, which makes a consumer of its own name at the
// newest begin, and reads from there. A number that it has read already is left
// out; one that is missing, another generation, silence of the server, a lost
// connection, all end with an error, after which [Client.Next] begins anew: that
// is what [listener.Feed] promises. The state in between, which it needs not, it
// skips.
//
// # Without the site
//
// A [Saved] around the client keeps what it was told in a file. A listener that is
// started while nobody answers at the site begins with that, if the feed was heard
// in the last [SavedFor]. FORMAT.md describes the file.
//
// # Who may do what
//
// TLS 1.3 before anything else, with a certificate that names a listener of the
// site ([wire.ListenerOf]) that [PublisherConfig].Admit lets in; devices and
// strangers do not get past the handshake. A listener NAME may publish
//
//	feed.begin.NAME                      to be told where to start
//	$JS.API.CONSUMER.INFO.FEED.NAME
//	$JS.API.CONSUMER.MSG.NEXT.FEED.NAME  to be sent the next messages
//
// and subscribe to _INBOX_NAME.>, and that is all. It can have the server's answers
// sent to where it likes, into the stream too. Genuine messages have numbers, so one
// that comes again changes nothing; other answers lack the header that the publisher
// gives its messages, and are left out. The publisher itself answers a listener in
// that listener's inbox only. A listener that is not admitted
// any more is cut off within a second; a connection lasts no longer than its
// certificate.
//
// Besides journal/jetstream this is the one package that imports NATS: the feed is
// no journal, shares nothing with it, and is never part of a backup.
package feed
