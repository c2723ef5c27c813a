#include "cli/internal.h"

#include "keeper/keeper.h"
#include "net/net.h"

int cli_keeper(int argc, char **argv)
{
    return keeper_main(argc, argv);
}

int cli_dns(int argc, char **argv)
{
    return net_dns_main(argc, argv);
}

int cli_nft(int argc, char **argv)
{
    (void)argc, (void)argv;
    return net_nft_main();
}
