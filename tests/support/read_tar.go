// Reads tar streams with archive/tar: the oracle of sifmake's tar reader.
// In: streams, each behind its length in 8 bytes, big-endian. Out: one line of JSON per stream; byte strings in hex.
package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
)

type member struct {
	Name, Link, Sha256 string
	Type               byte
	Uid, Gid           int
	Mode, Size, Mtime  int64
	Major, Minor       int64
	Xattrs             map[string]string
}

type result struct {
	Members []member
	Error   string
}

func hexed(s string) string { return hex.EncodeToString([]byte(s)) }

func xattrs(h *tar.Header) map[string]string {
	found := map[string]string{}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && value != "" {
			found[hexed(name)] = hexed(value)
		}
	}
	return found
}

func readAll(stream io.Reader) (r result) {
	tr := tar.NewReader(stream)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		digest := sha256.New()
		if err == nil {
			_, err = io.Copy(digest, tr)
		}
		if err != nil {
			r.Error = err.Error()
			return
		}
		r.Members = append(r.Members, member{
			Name: hexed(h.Name), Link: hexed(h.Linkname), Sha256: hexed(string(digest.Sum(nil))), Type: h.Typeflag,
			Uid: h.Uid, Gid: h.Gid, Mode: h.Mode, Size: h.Size, Mtime: h.ModTime.Unix(),
			Major: h.Devmajor, Minor: h.Devminor, Xattrs: xattrs(h),
		})
	}
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		var length uint64
		if err := binary.Read(in, binary.BigEndian, &length); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		stream := io.LimitReader(in, int64(length))
		if err := out.Encode(readAll(stream)); err != nil {
			panic(err)
		}
		if _, err := io.Copy(io.Discard, stream); err != nil {
			panic(err)
		}
	}
}
