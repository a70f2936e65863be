// Command go_client checks a Musubi log with tools that Musubi's authors did not write: golang.org/x/mod's
// sumdb/note (signed notes) and sumdb/tlog (trees, tiles and proofs). Only the names of files are ours.
//
//	go_client -log <url or folder> -vkey log.vkey [-policy witnesses.txt] [-records n] [-older checkpoint] [receipt entry]...
//
// It prints one line for each thing that it has checked, and ends with exit code 1 and the reason at the first that
// does not hold.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight     = 8
	tileWidth      = 1 << tileHeight
	maxFile        = tileWidth * (2 + 65535)
	typeCosigner   = 4
	typeMLDSA44    = 6
	receiptHeading = "c2sp.org/tlog-proof@v1"
)

var client = &http.Client{Timeout: 20 * time.Second}

// A place is where a log lies: a URL prefix or a folder.
type place string

func (p place) read(path string) ([]byte, error) {
	if !strings.HasPrefix(string(p), "http://") && !strings.HasPrefix(string(p), "https://") {
		return os.ReadFile(filepath.Join(string(p), filepath.FromSlash(path)))
	}
	answer, err := client.Get(strings.TrimRight(string(p), "/") + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answered %s", path, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxFile))
}

// path gives a tile's name in C2SP tlog-tiles. There the height is always 8 and is not written, and level -1, the
// records themselves, is called "entries" and not "data".
func path(t tlog.Tile) string {
	own := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if rest := strings.TrimPrefix(own, "data/"); rest != own {
		own = "entries/" + rest
	}
	return "tile/" + own
}

// tiles reads and keeps a log's tiles. tlog.TileHashReader checks each of them against the signed root.
type tiles struct {
	from  place
	kept  map[tlog.Tile][]byte
	saved int
}

func (r *tiles) Height() int { return tileHeight }

func (r *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, t := range wanted {
		data, here := r.kept[t]
		if !here {
			var err error
			if data, err = r.from.read(path(t)); err != nil {
				return nil, err
			}
		}
		found = append(found, data)
	}
	return found, nil
}

// SaveTiles is called with tiles that were checked.
func (r *tiles) SaveTiles(checked []tlog.Tile, data [][]byte) {
	for i, t := range checked {
		if _, here := r.kept[t]; !here {
			r.kept[t] = data[i]
			r.saved++
		}
	}
}

// A cosigner checks timestamped Ed25519 cosignatures (C2SP tlog-cosignature); sumdb/note knows only plain ones.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newCosigner(vkey string) (*cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("a witness key in the policy is not a verifier key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err == nil && len(key) > 0 && key[0] == typeMLDSA44 {
		return nil, nil // post-quantum, which this Go has not; its lines are passed over as an unknown key's
	}
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != typeCosigner {
		return nil, errors.New("a witness key in the policy is not an Ed25519 cosigner's")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	made := &cosigner{parts[0], binary.BigEndian.Uint32(sum[:]), key[1:]}
	if fmt.Sprintf("%08x", made.hash) != parts[1] {
		return nil, errors.New("a witness key in the policy does not have its own key ID")
	}
	return made, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, text)
	return ed25519.Verify(c.key, []byte(message), signature[8:])
}

// A town is whom the log's readers believe: the log's key, and witnesses.
type town struct {
	log       note.Verifier
	witnesses []note.Verifier
}

// open checks a signed checkpoint (C2SP tlog-checkpoint) and returns its tree.
func (t town) open(data []byte) (tlog.Tree, *note.Note, error) {
	var tree tlog.Tree
	opened, err := note.Open(data, note.VerifierList(append([]note.Verifier{t.log}, t.witnesses...)...))
	if err != nil {
		return tree, nil, err
	}
	signed := false
	for _, each := range opened.Sigs {
		signed = signed || each.Name == t.log.Name() && each.Hash == t.log.KeyHash()
	}
	lines := strings.Split(opened.Text, "\n")
	if !signed || len(lines) != 4 || lines[0] != t.log.Name() || lines[3] != "" {
		return tree, nil, errors.New("the note is not a checkpoint by this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, nil, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, opened, err
}

// entries reads one bundle: each entry is a big-endian uint16 length and its bytes.
func entries(from place, t tlog.Tile) ([][]byte, error) {
	data, err := from.read(path(t))
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for len(data) >= 2 {
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			break
		}
		found = append(found, data[2:2+length])
		data = data[2+length:]
	}
	if len(data) != 0 || len(found) != t.W {
		return nil, fmt.Errorf("%s: the bundle does not hold %d whole entries", path(t), t.W)
	}
	return found, nil
}

// checkRecords proves and checks the inclusion of records spread over the whole tree, and hashes all entries anew.
func checkRecords(from place, tree tlog.Tree, reader tlog.HashReader, wanted int64) error {
	every := int64(1)
	if wanted > 0 && wanted < tree.N {
		every = tree.N / wanted
	}
	var stored []tlog.Hash
	memory := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, i := range indexes {
			found = append(found, stored[i])
		}
		return found, nil
	})
	proven := 0
	for n := int64(0); n < tree.N; {
		bundle := tlog.Tile{H: tileHeight, L: -1, N: n / tileWidth, W: tileWidth}
		if left := tree.N - n; left < tileWidth {
			bundle.W = int(left)
		}
		found, err := entries(from, bundle)
		if err != nil {
			return err
		}
		for _, entry := range found {
			hash := tlog.RecordHash(entry)
			if n%every == 0 || n == tree.N-1 {
				proof, err := tlog.ProveRecord(tree.N, n, reader)
				if err != nil {
					return err
				}
				if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, hash); err != nil {
					return fmt.Errorf("record %d: %w", n, err)
				}
				proven++
			}
			more, err := tlog.StoredHashesForRecordHash(n, hash, memory)
			if err != nil {
				return err
			}
			stored = append(stored, more...)
			n++
		}
	}
	root, err := tlog.TreeHash(tree.N, memory)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the entries do not hash to the signed root")
	}
	fmt.Printf("entries: all %d hash to the signed root\n", tree.N)
	fmt.Printf("inclusion: %d records proven from tiles and checked against their entries\n", proven)
	return nil
}

// checkGrowth proves and checks that smaller trees begin this one.
func checkGrowth(tree tlog.Tree, reader tlog.HashReader) error {
	sizes := []int64{1, 2, 3, tree.N / 3, tree.N / 2, tree.N - 1, tree.N}
	for size := int64(4); size < tree.N; size *= 2 {
		sizes = append(sizes, size-1, size, size+1)
	}
	checked := 0
	for _, old := range sizes {
		if old < 1 || old > tree.N {
			continue
		}
		root, err := tlog.TreeHash(old, reader)
		if err != nil {
			return err
		}
		if err := checkExtends(tlog.Tree{N: old, Hash: root}, tree, reader); err != nil {
			return err
		}
		checked++
	}
	fmt.Printf("consistency: %d smaller trees proven to begin this one\n", checked)
	return nil
}

func checkExtends(old, tree tlog.Tree, reader tlog.HashReader) error {
	if old.N > tree.N {
		return fmt.Errorf("size %d is past this tree's %d", old.N, tree.N)
	}
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("size %d to %d: %w", old.N, tree.N, err)
	}
	return nil
}

// checkReceipt checks a receipt (C2SP tlog-proof) for the entry that it came with.
func checkReceipt(t town, receipt, entry []byte, tree tlog.Tree, reader tlog.HashReader) error {
	head, checkpoint, found := bytes.Cut(receipt, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != receiptHeading {
		return errors.New("the file is not a receipt")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	signed, _, err := t.open(checkpoint)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, signed.N, signed.Hash, index, tlog.RecordHash(entry)); err != nil {
		return fmt.Errorf("receipt for record %d: %w", index, err)
	}
	if err := checkExtends(signed, tree, reader); err != nil {
		return err
	}
	fmt.Printf("receipt: record %d is in the signed tree of %d, which begins this one\n", index, signed.N)
	return nil
}

func readWitnesses(file string) ([]note.Verifier, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found []note.Verifier
	for _, line := range strings.Split(string(text), "\n") {
		if items := strings.Fields(line); len(items) >= 3 && items[0] == "witness" {
			made, err := newCosigner(items[2])
			if err != nil {
				return nil, err
			}
			if made != nil {
				found = append(found, made)
			}
		}
	}
	return found, nil
}

func run() error {
	log := flag.String("log", "", "URL prefix or folder of the log")
	vkey := flag.String("vkey", "", "file with the log's verifier key")
	policy := flag.String("policy", "", "tlog-policy file with the witnesses' keys")
	records := flag.Int64("records", 0, "how many records to prove, spread over the tree; 0 is all")
	older := flag.String("older", "", "an older checkpoint of the log, which this one must extend")
	flag.Parse()
	key, err := os.ReadFile(*vkey)
	if err != nil {
		return err
	}
	var believed town
	if believed.log, err = note.NewVerifier(strings.TrimSpace(string(key))); err != nil {
		return err
	}
	if *policy != "" {
		if believed.witnesses, err = readWitnesses(*policy); err != nil {
			return err
		}
	}
	data, err := place(*log).read("checkpoint")
	if err != nil {
		return err
	}
	tree, opened, err := believed.open(data)
	if err != nil {
		return err
	}
	fmt.Printf("checkpoint: %d entries, root %s, signed by %s\n", tree.N, tree.Hash, believed.log.Name())
	for _, each := range opened.Sigs {
		if each.Hash != believed.log.KeyHash() {
			fmt.Printf("cosigned: by %s\n", each.Name)
		}
	}
	source := &tiles{from: place(*log), kept: map[tlog.Tile][]byte{}}
	reader := tlog.TileHashReader(tree, source)
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the tiles do not hash to the signed root")
	}
	if err := checkRecords(place(*log), tree, reader, *records); err != nil {
		return err
	}
	if err := checkGrowth(tree, reader); err != nil {
		return err
	}
	if *older != "" {
		data, err := os.ReadFile(*older)
		if err != nil {
			return err
		}
		old, _, err := believed.open(data)
		if err != nil {
			return err
		}
		if err := checkExtends(old, tree, reader); err != nil {
			return err
		}
		fmt.Printf("consistency: the older signed checkpoint of %d entries begins this one\n", old.N)
	}
	for files := flag.Args(); len(files) >= 2; files = files[2:] {
		receipt, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		entry, err := os.ReadFile(files[1])
		if err != nil {
			return err
		}
		if err := checkReceipt(believed, receipt, entry, tree, reader); err != nil {
			return err
		}
	}
	fmt.Printf("tiles: %d read, each checked against the signed root\n", source.saved)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "refused: %v\n", err)
		os.Exit(1)
	}
}
