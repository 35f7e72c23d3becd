// Package offlinetest makes folders of journals without JetStream, for tests: with
// as many small files of messages, generations and archives as a test wants, and
// with checkpoint and hashes. A test of package block compares the files with
// what JetStream writes.
package offlinetest
