/* A terminal at a container's own process: what `attach` and `run` share. The context is the container's id.
 */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

void attach_resize(void *context, int rows, int columns);
void attach_signal(void *context, int number);

#endif
