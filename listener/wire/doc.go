// Package wire is the protocol between agent and listener: frames, messages and
// close codes. PROTOCOL.md beside this file describes the bytes.
//
// The carrier is TLS 1.3 over TCP with the ALPN name [ALPN] and a client
// certificate; the device is who its certificate says, never what a message
// says. Package carrier has two more, over HTTPS. Both sides send frames ([Append], [ReadFrom]).
//
//	agent                       listener
//	  SignIn        ->
//	                <-  Welcome            or Close
//	                <-  Task               as often as there are tasks
//	  Result        ->                     delivered, running, and a final state
//	                <-  ResultAck          once the result is on disk
//	  KeepAlive     ->
//	                <-  KeepAliveAck       with the site's time
//	  PolicyRequest ->
//	                <-  Policy             in chunks
//	  Inventory     ->
//	                <-  InventoryAck       once it is on disk
//	  Bye           ->  or  <- Close
//
// A task may come more than once, a result may be sent more than once; both are
// known by the operation's id.
package wire
