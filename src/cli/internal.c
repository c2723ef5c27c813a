#include "cli/internal.h"

#include "keeper/keeper.h"

int cli_keeper(int argc, char **argv)
{
    return keeper_main(argc, argv);
}
