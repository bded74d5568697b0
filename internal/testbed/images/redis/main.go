// Redis is the program of the image gantry.test/redis:1: enough of the redis protocol for a test to see that it
// reaches a service and that the service keeps state.
//
//	redis          serve on :6379
//	redis ping     exit 0 if a server on localhost answers (the image's health check)
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const addr = ":6379"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "ping" {
		if err := ping(); err != nil {
			log.Fatal(err)
		}
		return
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("Ready to accept connections")
	store := &store{values: map[string]string{}}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn, store)
	}
}

func ping() error {
	conn, err := net.DialTimeout("tcp", "127.0.0.1"+addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && reply != "+PONG\r\n" {
		err = fmt.Errorf("unexpected reply %q", reply)
	}
	return err
}

func serve(conn net.Conn, store *store) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		words, err := readCommand(in)
		if err != nil {
			return
		}
		if len(words) == 0 {
			continue
		}
		if _, err := io.WriteString(conn, store.do(words)); err != nil {
			return
		}
	}
}

// readCommand reads an array of bulk strings, or the inline form ("PING" and a line end) that suits nc.
func readCommand(in *bufio.Reader) ([]string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(line, "*") {
		return strings.Fields(line), nil
	}
	count, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil || count < 0 || count > 64 {
		return nil, fmt.Errorf("bad array header %q", line)
	}
	words := make([]string, count)
	for i := range words {
		if words[i], err = readBulk(in); err != nil {
			return nil, err
		}
	}
	return words, nil
}

func readBulk(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "$")))
	if err != nil || size < 0 || size > 1<<20 {
		return "", fmt.Errorf("bad bulk header %q", line)
	}
	text := make([]byte, size+2)
	_, err = io.ReadFull(in, text)
	return string(text[:size]), err
}

type store struct {
	mu     sync.Mutex
	values map[string]string
}

func (s *store) do(words []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, args := strings.ToUpper(words[0]), words[1:]
	switch {
	case name == "PING":
		return "+PONG\r\n"
	case name == "SET" && len(args) >= 2:
		s.values[args[0]] = args[1]
		return "+OK\r\n"
	case name == "GET" && len(args) == 1:
		value, ok := s.values[args[0]]
		if !ok {
			return "$-1\r\n"
		}
		return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	case name == "INCR" && len(args) == 1:
		number, _ := strconv.Atoi(s.values[args[0]]) // absent: 0
		s.values[args[0]] = strconv.Itoa(number + 1)
		return fmt.Sprintf(":%d\r\n", number+1)
	case name == "DEL" && len(args) == 1:
		_, ok := s.values[args[0]]
		delete(s.values, args[0])
		if ok {
			return ":1\r\n"
		}
		return ":0\r\n"
	}
	return fmt.Sprintf("-ERR unknown command '%s'\r\n", words[0])
}
