// Quantities compared and printed.
#include <coracle/quantity.h>
#include <gtest/gtest.h>

namespace coracle {
namespace {

TEST(Quantities, AreToldFromOtherText) {
  for (const char* good : {"0", "2", "+2", "-2", "1.5", ".5", "5.", "100m", "1Ki", "1e3", "1E-3"})
    EXPECT_TRUE(is_quantity(good)) << good;
  for (const char* bad : {"", "-", ".", "+.", "x", "1x", "1.2.3", "1 ", " 1", "1e", "1ki", "Ki"})
    EXPECT_FALSE(is_quantity(bad)) << bad;
}

TEST(Quantities, AreCompared) {
  struct Case {
    const char *a, *b;
    int order;
  };
  for (const Case& c :
       {Case{"1", "1000m", 0}, Case{"1", "1001m", -1}, Case{"2", "1", 1}, Case{"1Gi", "1G", 1},
        Case{"100Mi", "104857600", 0}, Case{"0.5", "500m", 0}, Case{"1n", "2n", -1},
        Case{"+3", "3", 0}, Case{"1e3", "1k", 0}, Case{"7Ei", "8Ei", -1}, Case{"0", "1n", -1}}) {
    SCOPED_TRACE(std::string(c.a) + " " + c.b);
    EXPECT_EQ(compare_quantities(c.a, c.b), c.order);
    EXPECT_EQ(compare_quantities(c.b, c.a), -c.order);
  }
}

TEST(Quantities, ArePrintedAsUpstream) {
  struct Case {
    const char *text, *canonical;
  };
  for (const Case& c : {Case{"2", "2"},           Case{"2000m", "2"},
                        Case{"0.5", "500m"},      Case{"1.5", "1500m"},
                        Case{"1.5Gi", "1536Mi"},  Case{"1024Mi", "1Gi"},
                        Case{"1023Ki", "1023Ki"}, Case{"0.5Ki", "512"},
                        Case{"1000M", "1G"},      Case{"128974848", "128974848"},
                        Case{"1000", "1k"},       Case{"100u", "100u"},
                        Case{"0.000001", "1u"},   Case{"0", "0"},
                        Case{"0Mi", "0"},         Case{"1e3", "1e3"},
                        Case{"+3", "3"},          Case{"-1", "-1"},
                        Case{"x", "x"},           Case{"8Ei", "8Ei"},
                        Case{"5E", "5E"}}) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(canonical_quantity(c.text), c.canonical);
  }
}

}  // namespace
}  // namespace coracle
