/*
 * The NATS client for the program `sightline`, loaded when the first connection needs it.
 *
 * With what it brings along it takes a tenth of the time that a start of the program takes, and only a queue on
 * JetStream needs it. Without the library there is no connection, and what the queue says of it is NOT_THERE.
 */
#include <nats/nats.h>

#define LAZY_LIBRARY SL_NATS_LIBRARY
#define NOT_THERE SL_NATS_LIBRARY " cannot be loaded; install it"

/* clang-format off */
#define LAZY_FUNCTIONS(F, G) \
    G(void, jsCtx_Destroy, (void)0, (jsCtx *a), (a)) \
    F(natsStatus, jsDirectGetMsgOptions_Init, NATS_ERR, (jsDirectGetMsgOptions *a), (a)) \
    G(void, jsMsgMetaData_Destroy, (void)0, (jsMsgMetaData *a), (a)) \
    F(natsStatus, jsOptions_Init, NATS_ERR, (jsOptions *a), (a)) \
    F(natsStatus, jsPubOptions_Init, NATS_ERR, (jsPubOptions *a), (a)) \
    F(natsStatus, jsStreamConfig_Init, NATS_ERR, (jsStreamConfig *a), (a)) \
    G(void, jsStreamInfo_Destroy, (void)0, (jsStreamInfo *a), (a)) \
    F(natsStatus, jsSubOptions_Init, NATS_ERR, (jsSubOptions *a), (a)) \
    F(natsStatus, js_AddStream, NATS_ERR, \
      (jsStreamInfo **a, jsCtx *b, jsStreamConfig *c, jsOptions *d, jsErrCode *e), \
      (a, b, c, d, e)) \
    F(natsStatus, js_DeleteMsg, NATS_ERR, \
      (jsCtx *a, const char *b, uint64_t c, jsOptions *d, jsErrCode *e), \
      (a, b, c, d, e)) \
    F(natsStatus, js_DirectGetMsg, NATS_ERR, \
      (natsMsg **a, jsCtx *b, const char *c, jsOptions *d, jsDirectGetMsgOptions *e), \
      (a, b, c, d, e)) \
    F(natsStatus, js_GetLastMsg, NATS_ERR, \
      (natsMsg **a, jsCtx *b, const char *c, const char *d, jsOptions *e, jsErrCode *f), \
      (a, b, c, d, e, f)) \
    F(natsStatus, js_GetStreamInfo, NATS_ERR, \
      (jsStreamInfo **a, jsCtx *b, const char *c, jsOptions *d, jsErrCode *e), \
      (a, b, c, d, e)) \
    F(natsStatus, js_PublishMsg, NATS_ERR, \
      (jsPubAck **a, jsCtx *b, natsMsg *c, jsPubOptions *d, jsErrCode *e), \
      (a, b, c, d, e)) \
    F(natsStatus, js_PublishMsgAsync, NATS_ERR, (jsCtx *a, natsMsg **b, jsPubOptions *c), (a, b, c)) \
    F(natsStatus, js_PullSubscribe, NATS_ERR, \
      (natsSubscription **a, jsCtx *b, const char *c, const char *d, jsOptions *e, jsSubOptions *f, jsErrCode *g), \
      (a, b, c, d, e, f, g)) \
    F(natsStatus, natsConnection_Connect, NATS_ERR, (natsConnection **a, natsOptions *b), (a, b)) \
    G(void, natsConnection_Destroy, (void)0, (natsConnection *a), (a)) \
    F(natsStatus, natsConnection_FlushTimeout, NATS_ERR, (natsConnection *a, int64_t b), (a, b)) \
    F(natsStatus, natsConnection_GetServers, NATS_ERR, (natsConnection *a, char ***b, int *c), (a, b, c)) \
    F(natsStatus, natsConnection_JetStream, NATS_ERR, (jsCtx **a, natsConnection *b, jsOptions *c), (a, b, c)) \
    F(natsStatus, natsConnection_Publish, NATS_ERR, \
      (natsConnection *a, const char *b, const void *c, int d), \
      (a, b, c, d)) \
    F(natsStatus, natsConnection_PublishRequest, NATS_ERR, \
      (natsConnection *a, const char *b, const char *c, const void *d, int e), \
      (a, b, c, d, e)) \
    F(natsConnStatus, natsConnection_Status, NATS_CONN_STATUS_CLOSED, (natsConnection *a), (a)) \
    F(natsStatus, natsConnection_Subscribe, NATS_ERR, \
      (natsSubscription **a, natsConnection *b, const char *c, natsMsgHandler d, void *e), \
      (a, b, c, d, e)) \
    F(natsStatus, natsInbox_Create, NATS_ERR, (natsInbox **a), (a)) \
    G(void, natsInbox_Destroy, (void)0, (natsInbox *a), (a)) \
    F(natsStatus, natsMsgHeader_Get, NATS_ERR, (natsMsg *a, const char *b, const char **c), (a, b, c)) \
    F(natsStatus, natsMsgHeader_Set, NATS_ERR, (natsMsg *a, const char *b, const char *c), (a, b, c)) \
    G(void, natsMsgList_Destroy, (void)0, (natsMsgList *a), (a)) \
    F(natsStatus, natsMsg_Ack, NATS_ERR, (natsMsg *a, jsOptions *b), (a, b)) \
    F(natsStatus, natsMsg_Create, NATS_ERR, \
      (natsMsg **a, const char *b, const char *c, const char *d, int e), \
      (a, b, c, d, e)) \
    G(void, natsMsg_Destroy, (void)0, (natsMsg *a), (a)) \
    F(const char *, natsMsg_GetData, NULL, (const natsMsg *a), (a)) \
    F(int, natsMsg_GetDataLength, 0, (const natsMsg *a), (a)) \
    F(natsStatus, natsMsg_GetMetaData, NATS_ERR, (jsMsgMetaData **a, natsMsg *b), (a, b)) \
    F(const char *, natsMsg_GetReply, NULL, (const natsMsg *a), (a)) \
    F(uint64_t, natsMsg_GetSequence, 0, (natsMsg *a), (a)) \
    F(const char *, natsMsg_GetSubject, NULL, (const natsMsg *a), (a)) \
    F(int64_t, natsMsg_GetTime, 0, (natsMsg *a), (a)) \
    F(natsStatus, natsMsg_InProgress, NATS_ERR, (natsMsg *a, jsOptions *b), (a, b)) \
    F(natsStatus, natsOptions_Create, NATS_ERR, (natsOptions **a), (a)) \
    G(void, natsOptions_Destroy, (void)0, (natsOptions *a), (a)) \
    F(natsStatus, natsOptions_SetMaxReconnect, NATS_ERR, (natsOptions *a, int b), (a, b)) \
    F(natsStatus, natsOptions_SetName, NATS_ERR, (natsOptions *a, const char *b), (a, b)) \
    F(natsStatus, natsOptions_SetReconnectWait, NATS_ERR, (natsOptions *a, int64_t b), (a, b)) \
    F(natsStatus, natsOptions_SetServers, NATS_ERR, (natsOptions *a, const char **b, int c), (a, b, c)) \
    F(const char *, natsStatus_GetText, NOT_THERE, (natsStatus a), (a)) \
    G(void, natsSubscription_Destroy, (void)0, (natsSubscription *a), (a)) \
    F(natsStatus, natsSubscription_DrainTimeout, NATS_ERR, (natsSubscription *a, int64_t b), (a, b)) \
    F(natsStatus, natsSubscription_Fetch, NATS_ERR, \
      (natsMsgList *a, natsSubscription *b, int c, int64_t d, jsErrCode *e), \
      (a, b, c, d, e)) \
    F(natsStatus, natsSubscription_GetPending, NATS_ERR, (natsSubscription *a, int *b, int *c), (a, b, c)) \
    F(const char *, natsSubscription_GetSubject, NULL, (natsSubscription *a), (a)) \
    F(natsStatus, natsSubscription_WaitForDrainCompletion, NATS_ERR, (natsSubscription *a, int64_t b), (a, b)) \
    F(const char *, nats_GetLastError, NULL, (natsStatus *a), (a)) \
    F(void, nats_Sleep, (void)0, (int64_t a), (a))
/* clang-format on */

#include "src/cli/lazy_functions.h"
