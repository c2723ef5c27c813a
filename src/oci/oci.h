/* The runtime as a program of its own, `drover-oci`: the command line that engines expect of an OCI runtime
 * (runc's), over src/runtime. */
#ifndef OCI_OCI_H
#define OCI_OCI_H

/* argv[0] is the program's name. Returns the exit status. */
int oci_main(int argc, char **argv);

#endif
