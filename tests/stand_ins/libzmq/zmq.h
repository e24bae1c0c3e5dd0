/* What the reader in deploy/wire.md uses of libzmq's own header, for machines that have the library without it. */
#include <stddef.h>

typedef struct { unsigned char _[64]; } __attribute__((aligned(8))) zmq_msg_t;

#define ZMQ_SUB 2
#define ZMQ_REQ 3
#define ZMQ_SUBSCRIBE 6
#define ZMQ_RCVTIMEO 27
#define ZMQ_CURVE_PUBLICKEY 48
#define ZMQ_CURVE_SECRETKEY 49
#define ZMQ_CURVE_SERVERKEY 50
#define ZMQ_REQ_CORRELATE 52
#define ZMQ_REQ_RELAXED 53

void *zmq_ctx_new(void);
int zmq_errno(void);
const char *zmq_strerror(int number);
void *zmq_socket(void *context, int type);
int zmq_setsockopt(void *socket, int option, const void *value, size_t size);
int zmq_connect(void *socket, const char *endpoint);
int zmq_poll(void *items, int count, long timeout_ms);
int zmq_send(void *socket, const void *bytes, size_t size, int flags);
int zmq_msg_init(zmq_msg_t *message);
int zmq_msg_recv(zmq_msg_t *message, void *socket, int flags);
int zmq_msg_close(zmq_msg_t *message);
void *zmq_msg_data(zmq_msg_t *message);
size_t zmq_msg_size(const zmq_msg_t *message);
int zmq_curve_public(char *public_key, const char *secret_key);
