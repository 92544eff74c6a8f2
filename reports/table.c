#include "reports/table.h"
