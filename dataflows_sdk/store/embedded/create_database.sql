create database dataflows
