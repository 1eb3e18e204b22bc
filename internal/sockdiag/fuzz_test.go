// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// answerAbout returns a struct inet_diag_msg about a socket.
func answerAbout(local, remote netip.AddrPort, tcpState, inode byte) []byte {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	msg := make([]byte, answerLen)
	msg[0], msg[answerState], msg[answerInode] = family, tcpState, inode
	msg[4], msg[5] = byte(local.Port()>>8), byte(local.Port())
	msg[6], msg[7] = byte(remote.Port()>>8), byte(remote.Port())
	copy(msg[8:24], local.Addr().AsSlice())
	copy(msg[24:40], remote.Addr().AsSlice())
	return msg
}

// FuzzAnswers: all answers of the kernel, also cut ones, are parsed without a panic. No
// other socket is taken for ours.
func FuzzAnswers(f *testing.F) {
	local, remote := netip.MustParseAddrPort("10.0.0.7:41000"), netip.MustParseAddrPort("100.64.3.7:9100")
	local6, remote6 := netip.MustParseAddrPort("[fd00::7]:41000"), netip.MustParseAddrPort("[fd00:10::7]:9100")
	f.Add([]byte{}, answerLen, false)
	f.Add(answerAbout(local, remote, 5, 0), answerLen, false)
	f.Add(answerAbout(local6, remote6, 5, 1), answerLen, true)
	f.Add(slices.Concat(answerAbout(local, remote, 5, 0), answerAbout(local, remote, 4, 9)), answerLen, false)
	f.Add(answerAbout(local, remote, 250, 0), answerLen, false)
	f.Add(answerAbout(local, remote, 5, 0), 40, false)
	f.Fuzz(func(t *testing.T, answers []byte, size int, v6 bool) {
		if size < 1 || len(answers) > 100*answerLen {
			return
		}
		from, to := local, remote
		if v6 {
			from, to = local6, remote6
		}
		msgs := slices.Collect(slices.Chunk(answers, size))
		for _, known := range []bool{false, true} {
			checkAmong(t, msgs, from, to, known)
		}
		state, err := parseOne(msgs)
		if (err != nil) != (len(msgs) != 1 || len(msgs[0]) < answerLen) || (err != nil && state != Unknown) {
			t.Fatalf("%d answers give %d, %v", len(msgs), state, err)
		}
	})
}

// checkAmong compares the result of classify with its answers, counted one by one.
func checkAmong(t *testing.T, msgs [][]byte, local, remote netip.AddrPort, known bool) {
	t.Helper()
	got, err := classify(msgs, local, remote, func(uint16) bool { return known })
	if err != nil {
		if got != Unknown || !slices.ContainsFunc(msgs, func(m []byte) bool { return len(m) < answerLen }) {
			t.Fatalf("answers long enough give %d, %v", got, err)
		}
		return
	}
	ours, owned := 0, 0
	for _, msg := range msgs {
		if addressAt(msg, 8) == local.Addr() && addressAt(msg, 24) == remote.Addr() {
			ours++
			if [4]byte(msg[answerInode:]) != [4]byte{} {
				owned++
			}
		}
	}
	switch {
	case got == Owned && (known || owned != ours || ours == 0),
		got == Orphan && owned > 0,
		got == Unknown && ours == 0:
		t.Fatalf("of %d sockets %d are owned, known as others' %v, which gives %d", ours, owned, known, got)
	}
}

func addressAt(msg []byte, at int) netip.Addr {
	if msg[0] == unix.AF_INET6 {
		return netip.AddrFrom16([16]byte(msg[at:])).Unmap()
	}
	return netip.AddrFrom4([4]byte(msg[at:]))
}

// FuzzMessages: all bytes from the kernel are parsed without a panic. No payload is
// larger than the input.
func FuzzMessages(f *testing.F) {
	header := func(length uint32, kind, flags uint16) []byte {
		b := binary.NativeEndian.AppendUint32(nil, length)
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, flags)
		return append(b, make([]byte, 8)...)
	}
	f.Add([]byte{})
	f.Add(header(16, unix.NLMSG_DONE, 0))
	f.Add(append(header(20, unix.NLMSG_ERROR, 0), 0xfe, 0xff, 0xff, 0xff))
	f.Add(slices.Concat(header(16+answerLen, sockDiagByFamily, unix.NLM_F_MULTI), make([]byte, answerLen), header(16, unix.NLMSG_DONE, 0)))
	f.Add(header(17, sockDiagByFamily, unix.NLM_F_DUMP_INTR))
	f.Add(header(4, sockDiagByFamily, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		payloads, done, err := parseMessages(b)
		if err != nil && (payloads != nil || done) {
			t.Fatalf("%d payloads and %t, though the error is %v", len(payloads), done, err)
		}
		sum := 0
		for _, p := range payloads {
			sum += unix.NLMSG_HDRLEN + len(p)
		}
		if sum > len(b) {
			t.Fatalf("payloads of %d bytes in %d", sum, len(b))
		}
	})
}
