/* A table of cells' values, on its way into a format. */
#ifndef REPORTS_TABLE_H
#define REPORTS_TABLE_H

#endif
