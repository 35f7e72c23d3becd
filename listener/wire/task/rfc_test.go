package task

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The inputs, roots and audit paths that implementations of RFC 6962 share.
var (
	rfcInputs = []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	rfcRoots  = []string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	rfcPaths = []struct {
		index, size uint32
		path        []string
	}{
		{0, 1, nil},
		{0, 8, []string{
			"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
			"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
			"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
		{5, 8, []string{
			"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
			"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
			"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
		{2, 3, []string{"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
		{1, 5, []string{
			"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
			"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
			"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
	}
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rfcLeaf hashes an input of any length; targets have leaves of 32 bytes only.
func rfcLeaf(t *testing.T, i uint32) [32]byte {
	return sha256.Sum256(append([]byte{0}, unhex(t, rfcInputs[i])...))
}

func TestPathsOfTheRFC(t *testing.T) {
	for _, c := range rfcPaths {
		var path [][32]byte
		for _, h := range c.path {
			path = append(path, [32]byte(unhex(t, h)))
		}
		got, err := climb(rfcLeaf(t, c.index), c.index, c.size, path)
		if err != nil || hex.EncodeToString(got[:]) != rfcRoots[c.size-1] {
			t.Errorf("path of leaf %d of %d leads to %x (%v), want %s", c.index, c.size, got, err, rfcRoots[c.size-1])
		}
		if _, err := climb(rfcLeaf(t, c.index), c.index, c.size, append(path, [32]byte{})); err == nil {
			t.Errorf("leaf %d of %d: a path that is too long is taken", c.index, c.size)
		}
		if len(path) > 0 {
			if _, err := climb(rfcLeaf(t, c.index), c.index, c.size, path[1:]); err == nil {
				t.Errorf("leaf %d of %d: a path that is too short is taken", c.index, c.size)
			}
		}
		if _, err := climb(rfcLeaf(t, c.index), c.size, c.size, path); err == nil {
			t.Errorf("leaf %d of %d leaves is taken", c.size, c.size)
		}
	}
}

func TestNodesOfTheRFC(t *testing.T) {
	var level [][32]byte
	for i := range rfcInputs {
		level = append(level, rfcLeaf(t, uint32(i)))
	}
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = nodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	if got := hex.EncodeToString(level[0][:]); got != rfcRoots[7] {
		t.Errorf("eight leaves have root %s, want %s", got, rfcRoots[7])
	}
	if got := root(nil); hex.EncodeToString(got[:]) != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("an empty tree has root %x", got)
	}
}

// Another implementation of the RFC, that of the Go checksum database, has the
// same roots and takes our paths.
func TestAgreesWithTlog(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range at {
			out = append(out, stored[i])
		}
		return out, nil
	})
	var leaves [][32]byte
	for n := int64(0); n < 70; n++ {
		leaf := sha256.Sum256([]byte{byte(n)})
		leaves = append(leaves, leaf)
		hashes, err := tlog.StoredHashes(n, leaf[:], reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		want, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			t.Fatal(err)
		}
		if got := root(leaves); got != want {
			t.Fatalf("root of %d leaves is %x, want %x", n+1, got, want)
		}
		for i := range leaves {
			var proof tlog.RecordProof
			for _, h := range path(i, leaves) {
				proof = append(proof, h)
			}
			if err := tlog.CheckRecord(proof, n+1, want, int64(i), tlog.RecordHash(leaves[i][:])); err != nil {
				t.Fatalf("path of leaf %d of %d: %v", i, n+1, err)
			}
		}
	}
}
