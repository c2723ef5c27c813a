/* Verbs that Drover starts for itself: the keeper, the DNS process and the one that speaks to nftables. */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

int cli_keeper(int argc, char **argv);
int cli_dns(int argc, char **argv);
int cli_nft(int argc, char **argv);

#endif
